//! The bytes of a request, counted as they are received, to tell where it ends.

/// The bytes of the current message; more than it has belong to the next request.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Message {
    /// From its first line on.
    received: usize,
    /// Where its head ends, if that was seen.
    head: Option<usize>,
    pub(super) body: Body,
    /// The last bytes received: a read can end anywhere.
    tail: [u8; TAIL],
}

/// The bytes of an empty line behind a line.
const TAIL: usize = 4;

/// The body that a request's headers announce.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Body {
    #[default]
    None,
    Sized(usize),
    Chunked,
}

impl Message {
    pub(super) fn receive(&mut self, bytes: &[u8], is_head: bool) {
        // Empty lines before a request do not belong to it, and end no head.
        let before = if is_head && self.received == 0 {
            let is_break = |byte: &&u8| matches!(byte, b'\r' | b'\n');
            bytes.iter().take_while(is_break).count()
        } else {
            0
        };
        let bytes = bytes.get(before..).unwrap_or_default();
        if is_head && self.head.is_none() {
            let end = end_of_split_head(self.tail, bytes).or_else(|| end_of_head(bytes));
            self.head = end.map(|end| self.received + end);
        }
        self.received += bytes.len();
        for byte in bytes.iter().skip(bytes.len().saturating_sub(TAIL)) {
            let [_, second, third, last] = self.tail;
            self.tail = [second, third, last, *byte];
        }
    }

    /// Whether nothing of a next request has been received. A doubt counts as no: then the next
    /// head is due sooner.
    pub(super) fn ends(&self) -> bool {
        match self.body {
            Body::None | Body::Chunked => self.ends_blank(),
            Body::Sized(length) => self.body_received().is_some_and(|body| body == length),
        }
    }

    /// Whether the whole request has been received. A doubt counts as no.
    pub(super) fn is_whole(&self) -> bool {
        match self.body {
            Body::None => true,
            Body::Sized(length) => self.body_received().is_some_and(|body| body >= length),
            Body::Chunked => self.ends_blank() && self.body_received().is_some_and(|body| body > 0),
        }
    }

    fn body_received(&self) -> Option<usize> {
        self.received.checked_sub(self.head?)
    }

    fn ends_blank(&self) -> bool {
        self.tail.ends_with(b"\r\n\r\n") || self.tail.ends_with(b"\n\n")
    }
}

/// The position behind the empty line that ends a head, if it began with the bytes before these.
fn end_of_split_head(before: [u8; TAIL], bytes: &[u8]) -> Option<usize> {
    if before.ends_with(b"\n") && bytes.starts_with(b"\r\n") {
        Some(2)
    } else {
        let is_empty_line = before.ends_with(b"\n") || before.ends_with(b"\n\r");
        (is_empty_line && bytes.starts_with(b"\n")).then_some(1)
    }
}

/// The position behind the empty line that ends a head, if it is in these bytes.
fn end_of_head(bytes: &[u8]) -> Option<usize> {
    memchr::memchr_iter(b'\n', bytes).find_map(|line_end| {
        let rest = bytes.get(line_end + 1..)?;
        if rest.starts_with(b"\r\n") {
            Some(line_end + 3)
        } else {
            rest.starts_with(b"\n").then_some(line_end + 2)
        }
    })
}
