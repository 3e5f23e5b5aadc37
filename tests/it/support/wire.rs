//! The messages that a PostgreSQL client sends, cut out of its bytes, and what they do for a batch.

use std::collections::HashSet;

/// In the text of the statement that sells, and of those that look keys up.
const SALE: &[u8] = b"WITH fence AS";
const KEYS: &[u8] = b"AS asked (user_id, key)";
/// The code of a start-up message; others without a type only ask for encryption.
const START_UP: [u8; 4] = [0, 3, 0, 0];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Prepares or executes a look-up of keys.
    Keys,
    /// Prepares the statement that sells and commits.
    PrepareSale,
    /// Executes it, once a [`Role::Sync`] follows.
    Sale,
    Commit,
    Sync,
    Other,
}

#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) bytes: Vec<u8>,
    pub(crate) role: Role,
}

/// What a connection has sent so far.
#[derive(Debug, Default)]
pub(crate) struct Wire {
    rest: Vec<u8>,
    has_started: bool,
    sales: HashSet<Vec<u8>>,
    keys: HashSet<Vec<u8>>,
}

impl Wire {
    /// The messages that these bytes complete.
    pub(crate) fn messages(&mut self, bytes: &[u8]) -> Vec<Message> {
        self.rest.extend_from_slice(bytes);
        std::iter::from_fn(|| self.next()).collect()
    }

    fn next(&mut self) -> Option<Message> {
        // The type is not part of the length.
        let kind = usize::from(self.has_started);
        let length = self.rest.get(kind..kind + 4)?.try_into().unwrap();
        let length = kind + usize::try_from(u32::from_be_bytes(length)).unwrap();
        if self.rest.len() < length {
            return None;
        }
        let rest = self.rest.split_off(length);
        let bytes = std::mem::replace(&mut self.rest, rest);
        let role = if self.has_started {
            self.role(&bytes)
        } else {
            self.has_started = bytes[4..8] == START_UP;
            Role::Other
        };
        Some(Message { bytes, role })
    }

    fn role(&mut self, message: &[u8]) -> Role {
        let mut texts = message[5..].split(|byte| *byte == 0);
        match message[0] {
            b'Q' if texts.next() == Some(b"COMMIT") => Role::Commit,
            b'S' => Role::Sync,
            b'P' => {
                let name = texts.next().unwrap().to_vec();
                let text = texts.next().unwrap();
                if contains(text, SALE) {
                    self.sales.insert(name);
                    return Role::PrepareSale;
                }
                if contains(text, KEYS) {
                    self.keys.insert(name);
                    return Role::Keys;
                }
                Role::Other
            }
            b'B' => {
                // After the name of the portal.
                let name = texts.nth(1).unwrap();
                if self.sales.contains(name) {
                    Role::Sale
                } else if self.keys.contains(name) {
                    Role::Keys
                } else {
                    Role::Other
                }
            }
            _ => Role::Other,
        }
    }
}

pub(crate) fn contains(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|window| window == word)
}
