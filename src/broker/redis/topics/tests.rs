use std::time::Duration;

use super::*;

fn awaited(listen: Listen) -> Listening {
    match listen {
        Listen::Awaited(listening) => listening,
        other => panic!("{other:?}"),
    }
}

fn names(steps: &[Step]) -> Vec<String> {
    let mut names: Vec<String> = steps
        .iter()
        .map(|step| match step {
            Step::Subscribe(topic, _) => format!("+{topic}"),
            Step::Unsubscribe(topic) => format!("-{topic}"),
            Step::SubscribeAll(beginning) => format!("+{beginning}*"),
        })
        .collect();
    names.sort();
    names
}

#[test]
fn only_what_makes_a_difference_is_sent() {
    let topics = Topics::default();
    for topic in ["a", "b", "c"] {
        awaited(topics.listen(topic));
    }
    assert_eq!(topics.listen("b"), Listen::Before);
    topics.unlisten("c");
    topics.unlisten("never");
    let (mut subscribed, steps) = topics.begin();
    assert_eq!(names(&steps), ["+a", "+b"]);
    assert_eq!(topics.steps(&mut subscribed).0, []);

    topics.unlisten("a");
    let _ = topics.listen("a");
    let _ = topics.listen("d");
    topics.unlisten("d");
    assert_eq!(topics.steps(&mut subscribed), (vec![], vec![]));
    let _ = topics.listen("d");
    assert_eq!(names(&topics.steps(&mut subscribed).0), ["+d"]);
    topics.unlisten("d");
    assert_eq!(names(&topics.steps(&mut subscribed).0), ["-d"]);
    assert!(topics.find("d").is_none() && topics.find("a").is_some());
}

#[test]
fn a_listening_is_confirmed_once_and_by_the_answer_to_its_own_step() {
    let topics = Topics::default();
    let (mut subscribed, _) = topics.begin();
    let mut look = || {
        let (mut steps, confirmed) = topics.steps(&mut subscribed);
        (steps.pop(), confirmed, std::mem::take(&mut subscribed))
    };
    let first = awaited(topics.listen("a"));
    let (step, _, seen) = look();
    subscribed = seen;
    let step = step.unwrap();
    assert_eq!(topics.answered(&step, &mut subscribed), [first]);
    assert_eq!(topics.answered(&step, &mut subscribed), []);

    // Subscribed all the time, so that there is nothing to wait for.
    topics.unlisten("a");
    let again = awaited(topics.listen("a"));
    assert_eq!(topics.steps(&mut subscribed), (vec![], vec![again]));

    // The answer to an older step comes when the topic is not subscribed any more.
    topics.unlisten("a");
    let _ = topics.steps(&mut subscribed);
    let _ = topics.listen("a");
    let old = topics.steps(&mut subscribed).0.pop().unwrap();
    topics.unlisten("a");
    let _ = topics.steps(&mut subscribed);
    let late = awaited(topics.listen("a"));
    assert_eq!(topics.answered(&old, &mut subscribed), []);
    let new = topics.steps(&mut subscribed).0.pop().unwrap();
    assert_eq!(topics.answered(&old, &mut subscribed), []);
    assert_eq!(topics.answered(&new, &mut subscribed), [late]);
}

#[test]
fn a_beginning_stands_for_its_topics_where_it_is_permitted() {
    let topics = Topics::default();
    let (mut subscribed, _) = topics.begin();
    topics.listen_all("cache-");
    let (steps, _) = topics.steps(&mut subscribed);
    assert_eq!(names(&steps), ["+cache-*"]);
    let (before, other) = (awaited(topics.listen("cache-a")), awaited(topics.listen("a")));
    let more = topics.steps(&mut subscribed).0;
    assert_eq!(names(&more), ["+a"]);
    assert_eq!(topics.answered(&steps[0], &mut subscribed), [before]);
    let after = awaited(topics.listen("cache-b"));
    assert_eq!(topics.steps(&mut subscribed), (vec![], vec![after]));
    assert_eq!(topics.answered(&more[0], &mut subscribed), [other]);
    topics.unlisten("cache-a");
    assert_eq!(topics.steps(&mut subscribed), (vec![], vec![]));
    assert!(topics.hears("cache-a") && topics.find("cache-c").is_some() && !topics.hears("b"));

    // Another connection, which is not permitted to.
    let (mut subscribed, steps) = topics.begin();
    assert_eq!(names(&steps), ["+a", "+cache-*"]);
    let new = awaited(topics.listen("cache-c"));
    assert_eq!(topics.steps(&mut subscribed), (vec![], vec![]));
    let steps = topics.refused(&"cache-".into(), &mut subscribed);
    assert_eq!(names(&steps), ["+cache-b", "+cache-c"]);
    let confirmed: Vec<_> = steps.iter().flat_map(|step| topics.answered(step, &mut subscribed)).collect();
    assert_eq!(confirmed, [new]);
    let _ = topics.listen("cache-a");
    assert_eq!(names(&topics.steps(&mut subscribed).0), ["+cache-a"]);
    topics.unlisten("cache-a");
    assert_eq!(names(&topics.steps(&mut subscribed).0), ["-cache-a"]);
    assert!(!topics.hears("cache-a") && topics.find("cache-d").is_none());
}

#[test]
fn what_is_not_confirmed_in_time_is_told_once() {
    let topics = Topics::default();
    let (mut subscribed, _) = topics.begin();
    let _ = topics.listen("given up");
    topics.unlisten("given up");
    let listening = awaited(topics.listen("a"));
    let after = Instant::now() + CONFIRM_WITHIN + Duration::from_millis(1);
    assert!(topics.late(Instant::now()).is_empty());
    assert_eq!(topics.late(after), [listening]);
    let step = topics.steps(&mut subscribed).0.pop().unwrap();
    assert_eq!(topics.answered(&step, &mut subscribed), []);
    assert!(topics.late(after).is_empty());
}

#[test]
fn without_a_connection_churn_leaves_nothing() {
    let topics = Topics::default();
    let _ = topics.begin();
    topics.end();
    for number in 0..10_000 {
        let _ = topics.listen(&number.to_string());
    }
    for number in 0..10_000 {
        topics.unlisten(&number.to_string());
    }
    let after = Instant::now() + CONFIRM_WITHIN;
    assert!(topics.late(after).is_empty());
    let state = topics.lock();
    assert!(state.changes.is_none());
    assert!(state.topics.capacity() < 100 && state.awaited.capacity() < 100);
    assert!(state.deadlines.capacity() < 100);
    drop(state);
    assert_eq!(topics.begin().1, []);
}
