//! What the steps of the model change, and how a counterexample tells them.

use super::machine::{Action, Answer, Batch, Lane, Row, Settling, State, Statement};

impl Lane {
    /// Whether a batch owns the requests of the queue, so that no caller can abandon them.
    pub(crate) fn has_claimed(&self) -> bool {
        matches!(self, Self::Sent { .. } | Self::Settles { .. })
    }
}

impl Row {
    /// Executes a statement; false if it matches no row.
    pub(crate) fn execute(&mut self, statement: &Statement, fence: bool) -> bool {
        if fence && self.version != statement.version {
            return false;
        }
        self.version += 1;
        self.stock = statement.stock;
        for buyer in &statement.buyers {
            self.orders[*buyer] += 1;
        }
        true
    }

    /// Whether the statement was committed, found out over a new connection.
    pub(crate) fn settle(&mut self, statement: &Statement, settling: Settling) -> bool {
        if self.version == statement.version {
            if settling == Settling::Write {
                self.version += 1;
            }
            return false;
        }
        statement.buyers.iter().all(|buyer| self.orders[*buyer] > 0)
    }
}

impl State {
    /// The buyers whose requests wait in this lane's queue.
    pub(crate) fn waiting(&self, node: usize) -> impl Iterator<Item = usize> {
        let requests = self.requests.iter();
        let waiting = requests.filter(move |it| it.node == node && it.answer == Answer::Waits);
        waiting.map(|request| request.buyer)
    }

    /// Decides the batch on the row that was read, with the keys as they are now.
    pub(crate) fn decide(&mut self, node: usize) {
        let Lane::Ready { version, stock } = self.lanes[node] else {
            return;
        };
        let mut statement = Statement {
            version,
            stock,
            buyers: Vec::new(),
        };
        let mut replies = Vec::new();
        for buyer in self.waiting(node) {
            if self.row.orders[buyer] > 0 || statement.buyers.contains(&buyer) {
                replies.push((buyer, Answer::Created));
            } else if statement.stock > 0 {
                statement.stock -= 1;
                statement.buyers.push(buyer);
                replies.push((buyer, Answer::Created));
            } else {
                replies.push((buyer, Answer::SoldOut));
            }
        }
        if statement.buyers.is_empty() {
            // Nothing to write: no fence stands behind replays and refusals.
            self.reply(node, &replies);
            self.release(node);
        } else {
            let batch = Batch { statement, replies };
            self.lanes[node] = Lane::Sent {
                batch,
                answer: None,
            };
        }
    }

    /// Goes on with the row that was read, with the lock of its stock level or past it.
    pub(crate) fn enter(&mut self, node: usize, locked: bool) {
        if let Lane::Read { version, stock } = self.lanes[node] {
            if locked {
                self.locks[usize::from(stock)] = Some(node);
            }
            self.lanes[node] = Lane::Ready { version, stock };
        }
    }

    /// Settling takes too long: nobody knows what became of the batch.
    pub(crate) fn give_up(&mut self, node: usize, batch: &Batch) {
        let buyers = batch.replies.iter().map(|(buyer, _)| *buyer);
        let replies: Vec<_> = buyers.map(|buyer| (buyer, Answer::Unknown)).collect();
        self.reply(node, &replies);
        self.release(node);
    }

    /// Ends a batch: its callers are answered, or it is decided once more.
    pub(crate) fn end_batch(&mut self, node: usize, batch: &Batch, committed: bool) {
        if committed {
            self.reply(node, &batch.replies);
        }
        self.release(node);
    }

    pub(crate) fn reply(&mut self, node: usize, replies: &[(usize, Answer)]) {
        for (buyer, answer) in replies {
            let mut waiting = self.requests.iter_mut().filter(|request| {
                (request.node, request.buyer, request.answer) == (node, *buyer, Answer::Waits)
            });
            if let Some(request) = waiting.next() {
                request.answer = *answer;
            }
        }
    }

    /// Releases its locks by owner, and begins anew.
    pub(crate) fn release(&mut self, node: usize) {
        self.lanes[node] = Lane::Idle;
        for holder in &mut self.locks {
            *holder = holder.filter(|holder| *holder != node);
        }
    }

    /// The connection breaks: a statement that has not arrived may still do so.
    pub(crate) fn lose(&mut self, node: usize) {
        if let Lane::Sent {
            batch,
            answer: None,
        } = &self.lanes[node]
        {
            self.late.push(batch.statement.clone());
            self.late.sort();
        }
    }

    /// The node ends and starts anew: its callers get no answer, and its locks stay until they end.
    pub(crate) fn crash(&mut self, node: usize) {
        self.lose(node);
        for request in self
            .requests
            .iter_mut()
            .filter(|request| request.node == node)
        {
            if request.answer == Answer::Waits {
                request.answer = Answer::Unknown;
            }
        }
        self.lanes[node] = Lane::Idle;
        self.left.crashes -= 1;
    }

    /// The last line of a counterexample.
    pub(crate) fn told(&self) -> String {
        let sold: u8 = self.row.orders.iter().sum();
        let requests = self
            .requests
            .iter()
            .map(|request| format!("buyer {}: {}", request.buyer + 1, request.answer.told()));
        let requests: Vec<String> = requests.collect();
        format!(
            "{sold} sold, stock {}; {}",
            self.row.stock,
            requests.join(", ")
        )
    }
}

impl Answer {
    fn told(self) -> &'static str {
        match self {
            Self::Waits => "not answered yet",
            Self::Created => "created",
            Self::SoldOut => "sold out",
            Self::NotWritten => "nothing was written",
            Self::Unknown => "outcome unknown",
        }
    }
}

impl Action {
    /// A sentence about the action in this state.
    pub(crate) fn told(&self, state: &State) -> String {
        let of = |node: &usize| format!("node {}", node + 1);
        match self {
            Self::Read(node) => {
                let Row { version, stock, .. } = &state.row;
                format!(
                    "{} reads the row: version {version}, stock {stock}",
                    of(node)
                )
            }
            Self::Lock(node) => format!("{} takes the lock of this stock level", of(node)),
            Self::PassBy(node) => format!("{} finds the lock busy and passes it by", of(node)),
            Self::LockEnds(level) => {
                format!("the lock of level {level} ends: its holder is paused")
            }
            Self::Decide(node) => {
                let buyers: Vec<String> = state
                    .waiting(*node)
                    .map(|it| (it + 1).to_string())
                    .collect();
                format!(
                    "{} claims and decides its batch: buyer {}",
                    of(node),
                    buyers.join(", ")
                )
            }
            Self::Arrive(node) => format!("the database executes the statement of {}", of(node)),
            Self::Answer(node) => format!("{} gets the database's answer", of(node)),
            Self::Lose(node) => format!("{} loses its connection", of(node)),
            Self::ArriveLate(_) => "the statement of the lost connection arrives".to_owned(),
            Self::Settle(node) => format!("{} settles it over a new connection", of(node)),
            Self::GiveUp(node) => format!("{} gives up settling: outcome unknown", of(node)),
            Self::Abandon(number) => {
                let buyer = state.requests[*number].buyer + 1;
                format!("the time of buyer {buyer} is over: nothing was written")
            }
            Self::Repeat(number) => {
                let buyer = state.requests[*number].buyer + 1;
                format!("buyer {buyer} sends the request again, to the next node")
            }
            Self::Crash(node) => format!("{} crashes and starts anew", of(node)),
        }
    }
}
