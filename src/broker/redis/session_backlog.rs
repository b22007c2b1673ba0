use std::collections::{HashSet, VecDeque};

use super::session_command::SessionCommand;

/// Maximum commands that wait to be sent. More are dropped: a session that is not written is lost only with its node.
pub(super) const QUEUE: usize = 65_536;

/// What is to be written of sessions, in its order. Repeating it does no harm.
#[derive(Debug, Default)]
pub(super) struct SessionBacklog(VecDeque<SessionCommand>);

impl SessionBacklog {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds commands. Returns those that a page waits for, with everything else that concerns the same sessions: they do not wait for
    /// what is written of other sessions.
    pub(super) fn add(&mut self, commands: Vec<SessionCommand>) -> Vec<SessionCommand> {
        let awaited: HashSet<String> = commands
            .iter()
            .filter(|command| command.is_awaited())
            .filter_map(|command| command.session().map(str::to_owned))
            .collect();
        let goes_first = |command: &SessionCommand| {
            command.is_awaited() || command.session().is_some_and(|session| awaited.contains(session))
        };
        // Most of the time no page is waiting, and the backlog need not be searched.
        if awaited.is_empty() {
            let (first, rest) = commands.into_iter().partition::<Vec<_>, _>(goes_first);
            self.0.extend(rest);
            return first;
        }
        let all = std::mem::take(&mut self.0).into_iter().chain(commands);
        let (first, rest) = all.partition::<Vec<_>, _>(goes_first);
        self.0 = rest.into();
        first
    }

    /// Adds commands while Redis cannot be reached. Reads are dropped, because their callers have given up. Returns whether writes had to
    /// be dropped too, because too many are waiting.
    pub(super) fn defer(&mut self, commands: Vec<SessionCommand>) -> bool {
        self.0.extend(commands.into_iter().filter(SessionCommand::is_write));
        self.drop_excess()
    }

    /// Takes at most `most` commands, the oldest ones.
    pub(super) fn take(&mut self, most: usize) -> Vec<SessionCommand> {
        let rest = self.0.split_off(most.min(self.0.len()));
        std::mem::replace(&mut self.0, rest).into()
    }

    /// [Defers](Self::defer) commands that could not be sent: they come first again. Of the signs of life, only the last one does.
    pub(super) fn put_back(&mut self, commands: Vec<SessionCommand>) -> bool {
        let writes = commands.into_iter().filter(SessionCommand::is_write).chain(std::mem::take(&mut self.0));
        let mut writes: VecDeque<SessionCommand> = writes.collect();
        let is_sign = |command: &SessionCommand| matches!(command, SessionCommand::WriteSign(..));
        let last = writes.iter().rposition(is_sign);
        let mut index = 0;
        writes.retain(|command| {
            index += 1;
            !is_sign(command) || Some(index - 1) == last
        });
        self.0 = writes;
        self.drop_excess()
    }

    fn drop_excess(&mut self) -> bool {
        let excess = self.0.len().saturating_sub(QUEUE);
        self.0.drain(..excess);
        excess > 0
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::oneshot;

    use super::*;
    use crate::broker::redis::session_command::{SessionChange, SessionClaim, SessionSign};

    fn change(session: &str, claimed_at: u64) -> SessionCommand {
        SessionCommand::Change(session.to_owned(), claimed_at, SessionChange::Remove)
    }

    fn sign(number: u64) -> SessionCommand {
        let (text, exceptions, ttl) = (String::new(), Vec::new(), Duration::from_secs(60));
        SessionCommand::WriteSign("node".to_owned(), Some(SessionSign { number, text, exceptions, ttl }))
    }

    fn find(session: &str) -> SessionCommand {
        SessionCommand::Find(session.to_owned(), oneshot::channel().0)
    }

    fn claim(session: &str) -> SessionCommand {
        let key = session.to_owned();
        let claim = SessionClaim { key, claimed_at: 9, after: 0, session: SessionChange::Remove };
        SessionCommand::Claim(claim, oneshot::channel().0)
    }

    fn flush() -> SessionCommand {
        SessionCommand::Flush(oneshot::channel().0)
    }

    fn texts(commands: &[SessionCommand]) -> Vec<String> {
        let text = |command: &SessionCommand| match command {
            SessionCommand::Change(session, claimed_at, _) => format!("{session} {claimed_at}"),
            SessionCommand::WriteSign(_, Some(sign)) => format!("sign {}", sign.number),
            SessionCommand::WriteSign(_, None) => "leave".to_owned(),
            SessionCommand::Flush(_) => "flush".to_owned(),
            SessionCommand::Find(session, _) => format!("find {session}"),
            SessionCommand::Claim(claim, _) => format!("claim {}", claim.key),
            SessionCommand::ReadSign(..) => "read".to_owned(),
        };
        commands.iter().map(text).collect()
    }

    #[test]
    fn pages_wait_only_for_what_concerns_their_session() {
        let mut backlog = SessionBacklog::default();
        let waiting = vec![change("a", 1), change("b", 1), sign(1), change("a", 2)];
        assert_eq!(texts(&backlog.add(waiting)), [""; 0]);
        let read = SessionCommand::ReadSign("node".to_owned(), String::new(), oneshot::channel().0);
        assert_eq!(texts(&backlog.add(vec![read])), ["read"]);
        let commands = vec![change("c", 1), find("a"), change("a", 3), claim("d"), flush(), change("d", 1)];
        assert_eq!(texts(&backlog.add(commands)), ["a 1", "a 2", "find a", "a 3", "claim d", "d 1"]);
        assert_eq!(texts(&backlog.take(3)), ["b 1", "sign 1", "c 1"]);
        assert_eq!(texts(&backlog.take(3)), ["flush"]);
        assert!(backlog.is_empty());
    }

    #[test]
    fn what_could_not_be_sent_comes_first_again() {
        let mut backlog = SessionBacklog::default();
        backlog.add(vec![sign(1), change("a", 1), sign(2), flush(), change("a", 2), sign(3), change("a", 3)]);
        let chunk = backlog.take(5);
        assert!(!backlog.put_back(chunk));
        assert_eq!(texts(&backlog.take(9)), ["a 1", "a 2", "sign 3", "a 3"]);
        assert!(!backlog.put_back(vec![find("a"), claim("a"), change("a", 4)]));
        assert!(!backlog.defer(vec![find("a"), flush(), change("a", 5)]));
        assert_eq!(texts(&backlog.take(9)), ["a 4", "a 5"]);
    }

    #[test]
    fn the_oldest_are_dropped_if_too_many_wait() {
        let mut backlog = SessionBacklog::default();
        let changes = |from: u64, to: u64| (from..=to).map(|number| change("a", number)).collect();
        backlog.add(changes(3, QUEUE as u64 + 2));
        assert!(backlog.put_back(changes(1, 2)));
        assert_eq!(texts(&backlog.take(1)), ["a 3"]);
        assert!(!backlog.put_back(Vec::new()));
        assert!(backlog.defer(changes(1, 2)));
        assert_eq!(texts(&backlog.take(1)), ["a 5"]);
    }
}
