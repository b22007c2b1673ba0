use std::time::Duration;

use super::*;

fn awaited(listen: SubscribeOutcome) -> SubscriptionId {
    match listen {
        SubscribeOutcome::Pending(listening) => listening,
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
        awaited(topics.subscribe(topic));
    }
    assert_eq!(topics.subscribe("b"), SubscribeOutcome::AlreadySubscribed);
    topics.unsubscribe("c");
    topics.unsubscribe("never");
    let (mut subscribed, steps) = topics.begin();
    assert_eq!(names(&steps), ["+a", "+b"]);
    assert_eq!(topics.steps(&mut subscribed).0, []);

    topics.unsubscribe("a");
    let _ = topics.subscribe("a");
    let _ = topics.subscribe("d");
    topics.unsubscribe("d");
    assert_eq!(topics.steps(&mut subscribed), (vec![], vec![]));
    let _ = topics.subscribe("d");
    assert_eq!(names(&topics.steps(&mut subscribed).0), ["+d"]);
    topics.unsubscribe("d");
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
    let first = awaited(topics.subscribe("a"));
    let (step, _, seen) = look();
    subscribed = seen;
    let step = step.unwrap();
    assert_eq!(topics.answered(&step, &mut subscribed), [first]);
    assert_eq!(topics.answered(&step, &mut subscribed), []);

    // Subscribed all the time, so that there is nothing to wait for.
    topics.unsubscribe("a");
    let again = awaited(topics.subscribe("a"));
    assert_eq!(topics.steps(&mut subscribed), (vec![], vec![again]));

    // The answer to an older step comes when the topic is not subscribed any more.
    topics.unsubscribe("a");
    let _ = topics.steps(&mut subscribed);
    let _ = topics.subscribe("a");
    let old = topics.steps(&mut subscribed).0.pop().unwrap();
    topics.unsubscribe("a");
    let _ = topics.steps(&mut subscribed);
    let late = awaited(topics.subscribe("a"));
    assert_eq!(topics.answered(&old, &mut subscribed), []);
    let new = topics.steps(&mut subscribed).0.pop().unwrap();
    assert_eq!(topics.answered(&old, &mut subscribed), []);
    assert_eq!(topics.answered(&new, &mut subscribed), [late]);
}

#[test]
fn a_beginning_stands_for_its_topics_where_it_is_permitted() {
    let topics = Topics::default();
    let (mut subscribed, _) = topics.begin();
    topics.subscribe_prefix("cache-");
    let (steps, _) = topics.steps(&mut subscribed);
    assert_eq!(names(&steps), ["+cache-*"]);
    let (before, other) = (awaited(topics.subscribe("cache-a")), awaited(topics.subscribe("a")));
    let more = topics.steps(&mut subscribed).0;
    assert_eq!(names(&more), ["+a"]);
    assert_eq!(topics.answered(&steps[0], &mut subscribed), [before]);
    let after = awaited(topics.subscribe("cache-b"));
    assert_eq!(topics.steps(&mut subscribed), (vec![], vec![after]));
    assert_eq!(topics.answered(&more[0], &mut subscribed), [other]);
    topics.unsubscribe("cache-a");
    assert_eq!(topics.steps(&mut subscribed), (vec![], vec![]));
    assert!(
        topics.is_subscribed("cache-a") && topics.find("cache-c").is_some() && !topics.is_subscribed("b")
    );

    // Another connection, which is not permitted to.
    let (mut subscribed, steps) = topics.begin();
    assert_eq!(names(&steps), ["+a", "+cache-*"]);
    let new = awaited(topics.subscribe("cache-c"));
    assert_eq!(topics.steps(&mut subscribed), (vec![], vec![]));
    let steps = topics.refused(&"cache-".into(), &mut subscribed);
    assert_eq!(names(&steps), ["+cache-b", "+cache-c"]);
    let confirmed: Vec<_> = steps.iter().flat_map(|step| topics.answered(step, &mut subscribed)).collect();
    assert_eq!(confirmed, [new]);
    let _ = topics.subscribe("cache-a");
    assert_eq!(names(&topics.steps(&mut subscribed).0), ["+cache-a"]);
    topics.unsubscribe("cache-a");
    assert_eq!(names(&topics.steps(&mut subscribed).0), ["-cache-a"]);
    assert!(!topics.is_subscribed("cache-a") && topics.find("cache-d").is_none());
}

#[test]
fn what_is_not_confirmed_in_time_is_told_once() {
    let topics = Topics::default();
    let (mut subscribed, _) = topics.begin();
    let _ = topics.subscribe("given up");
    topics.unsubscribe("given up");
    let listening = awaited(topics.subscribe("a"));
    let after = Instant::now() + SUBSCRIBE_TIMEOUT + Duration::from_millis(1);
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
        let _ = topics.subscribe(&number.to_string());
    }
    for number in 0..10_000 {
        topics.unsubscribe(&number.to_string());
    }
    let after = Instant::now() + SUBSCRIBE_TIMEOUT;
    assert!(topics.late(after).is_empty());
    let state = topics.lock();
    assert!(state.changes.is_none());
    assert!(state.topics.capacity() < 100 && state.awaited.capacity() < 100);
    assert!(state.deadlines.capacity() < 100);
    drop(state);
    assert_eq!(topics.begin().1, []);
}
