//! Merges pending requests to the store: what to ask, and whom to answer. Pure.

use std::collections::{HashMap, VecDeque};

use tokio::sync::oneshot;

use crate::broker::{StoreError, StoreRead, StoreState, StoredHistory};

pub(super) type Reply<A> = oneshot::Sender<Result<A, StoreError>>;

/// What to read, and who waits for it.
pub(super) enum StoreRequest {
    State(Option<StoreState>, Reply<StoreState>),
    Histories(Vec<StoreRead>, Reply<Vec<StoredHistory>>),
}

/// Asks for what several requests want once, a few histories at a time. A request is answered as soon as everything that it wants has been
/// read, so that the histories of all requests need not be in memory together.
#[derive(Debug, Default)]
pub(super) struct StoreBatch {
    states: HashMap<Option<StoreState>, Vec<Reply<StoreState>>>,
    requests: Vec<HistoriesRequest>,
    /// In the order of the requests.
    reads: VecDeque<(StoreRead, Vec<Place>)>,
    /// Where `reads` has them, while requests are added.
    indexes: HashMap<StoreRead, usize>,
}

#[derive(Debug)]
struct HistoriesRequest {
    /// `None`: it has been answered.
    reply: Option<Reply<Vec<StoredHistory>>>,
    found: Vec<Option<StoredHistory>>,
    missing: usize,
}

/// Which history of which request.
type Place = (usize, usize);

/// What is asked at a time.
#[derive(Debug, Default)]
pub(super) struct Questions {
    pub(super) states: Vec<Option<StoreState>>,
    pub(super) reads: Vec<StoreRead>,
    places: Vec<Vec<Place>>,
}

/// In the order of the [`Questions`].
#[derive(Debug)]
pub(super) struct Answers {
    pub(super) states: Vec<StoreState>,
    pub(super) histories: Vec<StoredHistory>,
}

impl StoreBatch {
    pub(super) fn new(requests: impl IntoIterator<Item = StoreRequest>) -> Self {
        let mut batch = Self::default();
        for request in requests {
            match request {
                StoreRequest::State(seen, reply) => batch.states.entry(seen).or_default().push(reply),
                StoreRequest::Histories(reads, reply) => batch.add(reads, reply),
            }
        }
        batch.indexes = HashMap::new();
        batch
    }

    fn add(&mut self, reads: Vec<StoreRead>, reply: Reply<Vec<StoredHistory>>) {
        let (request, count) = (self.requests.len(), reads.len());
        for (index, read) in reads.into_iter().enumerate() {
            let distinct = *self.indexes.entry(read).or_insert_with_key(|read| {
                self.reads.push_back((read.clone(), Vec::new()));
                self.reads.len() - 1
            });
            if let Some((_, places)) = self.reads.get_mut(distinct) {
                places.push((request, index));
            }
        }
        let found = (0..count).map(|_| None).collect();
        self.requests.push(HistoriesRequest { reply: Some(reply), found, missing: count });
    }

    /// The next questions: at most this many histories, and only those for which a caller is still waiting. `None`: there are none left.
    pub(super) fn next(&mut self, max_histories: usize) -> Option<Questions> {
        let mut questions =
            Questions { states: self.states.keys().copied().collect(), ..Questions::default() };
        while questions.reads.len() < max_histories
            && let Some((read, mut places)) = self.reads.pop_front()
        {
            places
                .retain(|(request, _)| self.requests.get(*request).is_some_and(HistoriesRequest::is_wanted));
            if !places.is_empty() {
                questions.reads.push(read);
                questions.places.push(places);
            }
        }
        (!questions.states.is_empty() || !questions.reads.is_empty()).then_some(questions)
    }

    /// Sends the answers to those who need nothing else.
    pub(super) fn answer(&mut self, questions: Questions, answers: Answers) {
        // Sending fails if the caller has given up.
        for (seen, state) in questions.states.iter().zip(answers.states) {
            for reply in self.states.remove(seen).unwrap_or_default() {
                let _ = reply.send(Ok(state));
            }
        }
        for (places, history) in questions.places.into_iter().zip(answers.histories) {
            let Some((last, others)) = places.split_last() else { continue };
            for place in others {
                self.found(*place, history.clone());
            }
            self.found(*last, history);
        }
    }

    fn found(&mut self, (request, index): Place, history: StoredHistory) {
        let Some(request) = self.requests.get_mut(request) else { return };
        if let Some(place) = request.found.get_mut(index) {
            *place = Some(history);
            request.missing -= 1;
        }
        if request.missing == 0
            && let Some(reply) = request.reply.take()
        {
            let _ = reply.send(Ok(std::mem::take(&mut request.found).into_iter().flatten().collect()));
        }
    }

    /// The store cannot be asked: tells all who still wait.
    pub(super) fn fail(self, error: StoreError) {
        for reply in self.states.into_values().flatten() {
            let _ = reply.send(Err(error));
        }
        for reply in self.requests.into_iter().filter_map(|request| request.reply) {
            let _ = reply.send(Err(error));
        }
    }
}

impl HistoriesRequest {
    fn is_wanted(&self) -> bool {
        self.reply.as_ref().is_some_and(|reply| !reply.is_closed())
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use super::*;
    use crate::broker::ReadAfter;
    use crate::message::{ChannelName, Position};

    type Answer = oneshot::Receiver<Result<Vec<StoredHistory>, StoreError>>;

    fn read(channel: usize) -> StoreRead {
        let offset = NonZeroU64::MIN;
        let after = ReadAfter::Position(Position { epoch: 1, offset });
        StoreRead { channel: ChannelName::new(&format!("c{channel}")).unwrap(), after }
    }

    fn request(channels: impl IntoIterator<Item = usize>) -> (StoreRequest, Answer) {
        let (reply, answer) = oneshot::channel();
        (StoreRequest::Histories(channels.into_iter().map(read).collect(), reply), answer)
    }

    /// The history of each channel, marked with its number as the store.
    fn answers(questions: &Questions) -> Answers {
        let history = |read: &StoreRead| {
            let store = read.channel.as_str().trim_start_matches('c').parse().ok();
            StoredHistory { store, ..StoredHistory::default() }
        };
        let states = questions.states.iter().map(|_| StoreState { store: 9, number: 9 }).collect();
        Answers { states, histories: questions.reads.iter().map(history).collect() }
    }

    fn stores(answer: &mut Answer) -> Option<Vec<u64>> {
        let histories = answer.try_recv().ok()?.unwrap();
        Some(histories.into_iter().map(|history| history.store.unwrap()).collect())
    }

    #[test]
    fn what_several_want_is_read_once_and_each_is_answered_as_soon_as_possible() {
        let (requests, mut waiting): (Vec<_>, Vec<_>) =
            [vec![0, 1], vec![1], vec![2, 0, 2], vec![3]].into_iter().map(request).unzip();
        let mut batch = StoreBatch::new(requests);
        let questions = batch.next(2).unwrap();
        assert_eq!(questions.reads, [read(0), read(1)]);
        let found = answers(&questions);
        batch.answer(questions, found);
        let told: Vec<_> = waiting.iter_mut().map(stores).collect();
        assert_eq!(told, [Some(vec![0, 1]), Some(vec![1]), None, None]);
        let questions = batch.next(2).unwrap();
        assert_eq!(questions.reads, [read(2), read(3)]);
        let found = answers(&questions);
        batch.answer(questions, found);
        let told: Vec<_> = waiting[2..].iter_mut().map(stores).collect();
        assert_eq!(told, [Some(vec![2, 0, 2]), Some(vec![3])]);
        assert!(batch.next(2).is_none());
    }

    #[test]
    fn what_nobody_waits_for_any_more_is_not_read() {
        let (requests, mut waiting): (Vec<_>, Vec<_>) =
            [vec![0], vec![1], vec![2], vec![1, 3]].into_iter().map(request).unzip();
        let mut batch = StoreBatch::new(requests);
        drop(waiting.drain(..2));
        let questions = batch.next(2).unwrap();
        assert_eq!(questions.reads, [read(1), read(2)]);
        let found = answers(&questions);
        batch.answer(questions, found);
        drop(waiting.pop());
        assert!(batch.next(2).is_none());
        assert_eq!(stores(&mut waiting[0]), Some(vec![2]));
    }

    #[test]
    fn after_a_failure_all_who_still_wait_are_told() {
        let (state, mut told_state) = oneshot::channel();
        let (requests, mut waiting): (Vec<_>, Vec<_>) =
            [vec![0], vec![1, 2]].into_iter().map(request).unzip();
        let requests = requests.into_iter().chain([StoreRequest::State(None, state)]);
        let mut batch = StoreBatch::new(requests);
        let questions = batch.next(2).unwrap();
        assert_eq!(questions.states, [None]);
        let found = answers(&questions);
        batch.answer(questions, found);
        assert_eq!(told_state.try_recv().unwrap().unwrap().number, 9);
        let questions = batch.next(2).unwrap();
        assert_eq!((questions.states.len(), questions.reads.len()), (0, 1));
        batch.fail(StoreError::Denied);
        assert_eq!(stores(&mut waiting[0]), Some(vec![0]));
        assert_eq!(waiting[1].try_recv().unwrap().unwrap_err(), StoreError::Denied);
    }
}
