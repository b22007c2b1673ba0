use std::time::Duration;

use super::*;

fn pending(outcome: SubscribeOutcome) -> SubscriptionId {
    match outcome {
        SubscribeOutcome::Pending(subscription) => subscription,
        other => panic!("{other:?}"),
    }
}

fn names(commands: &[TopicCommand]) -> Vec<String> {
    let mut names: Vec<String> = commands
        .iter()
        .map(|command| match command {
            TopicCommand::Subscribe(topic, _) => format!("+{topic}"),
            TopicCommand::Unsubscribe(topic) => format!("-{topic}"),
            TopicCommand::SubscribePrefix(prefix) => format!("+{prefix}*"),
        })
        .collect();
    names.sort();
    names
}

#[test]
fn only_commands_that_change_something_are_sent() {
    let topics = DesiredTopics::default();
    for topic in ["a", "b", "c"] {
        pending(topics.subscribe(topic));
    }
    assert_eq!(topics.subscribe("b"), SubscribeOutcome::AlreadySubscribed);
    topics.unsubscribe("c");
    topics.unsubscribe("never");
    let (mut connection, commands) = topics.connect();
    assert_eq!(names(&commands), ["+a", "+b"]);
    assert_eq!(topics.commands(&mut connection).0, []);

    topics.unsubscribe("a");
    let _ = topics.subscribe("a");
    let _ = topics.subscribe("d");
    topics.unsubscribe("d");
    assert_eq!(topics.commands(&mut connection), (vec![], vec![]));
    let _ = topics.subscribe("d");
    assert_eq!(names(&topics.commands(&mut connection).0), ["+d"]);
    topics.unsubscribe("d");
    assert_eq!(names(&topics.commands(&mut connection).0), ["-d"]);
    assert!(topics.find("d").is_none() && topics.find("a").is_some());
}

#[test]
fn a_subscription_completes_once_and_by_the_reply_to_its_own_command() {
    let topics = DesiredTopics::default();
    let (mut connection, _) = topics.connect();
    let mut look = || {
        let (mut commands, completed) = topics.commands(&mut connection);
        (commands.pop(), completed, std::mem::take(&mut connection))
    };
    let first = pending(topics.subscribe("a"));
    let (command, _, seen) = look();
    connection = seen;
    let command = command.unwrap();
    assert_eq!(topics.on_reply(&command, &mut connection), [first]);
    assert_eq!(topics.on_reply(&command, &mut connection), []);

    // ConnectionTopics all the time, so that there is nothing to wait for.
    topics.unsubscribe("a");
    let again = pending(topics.subscribe("a"));
    assert_eq!(topics.commands(&mut connection), (vec![], vec![again]));

    // The reply to an earlier SUBSCRIBE arrives after the topic was unsubscribed.
    topics.unsubscribe("a");
    let _ = topics.commands(&mut connection);
    let _ = topics.subscribe("a");
    let old = topics.commands(&mut connection).0.pop().unwrap();
    topics.unsubscribe("a");
    let _ = topics.commands(&mut connection);
    let late = pending(topics.subscribe("a"));
    assert_eq!(topics.on_reply(&old, &mut connection), []);
    let new = topics.commands(&mut connection).0.pop().unwrap();
    assert_eq!(topics.on_reply(&old, &mut connection), []);
    assert_eq!(topics.on_reply(&new, &mut connection), [late]);
}

#[test]
fn a_prefix_covers_its_topics_unless_it_is_denied() {
    let topics = DesiredTopics::default();
    let (mut connection, _) = topics.connect();
    topics.subscribe_prefix("cache-");
    let (commands, _) = topics.commands(&mut connection);
    assert_eq!(names(&commands), ["+cache-*"]);
    let (before, other) = (pending(topics.subscribe("cache-a")), pending(topics.subscribe("a")));
    let more = topics.commands(&mut connection).0;
    assert_eq!(names(&more), ["+a"]);
    assert_eq!(topics.on_reply(&commands[0], &mut connection), [before]);
    let after = pending(topics.subscribe("cache-b"));
    assert_eq!(topics.commands(&mut connection), (vec![], vec![after]));
    assert_eq!(topics.on_reply(&more[0], &mut connection), [other]);
    topics.unsubscribe("cache-a");
    assert_eq!(topics.commands(&mut connection), (vec![], vec![]));
    assert!(
        topics.is_subscribed("cache-a") && topics.find("cache-c").is_some() && !topics.is_subscribed("b")
    );

    // Another connection, on which the prefix is denied.
    let (mut connection, commands) = topics.connect();
    assert_eq!(names(&commands), ["+a", "+cache-*"]);
    let new = pending(topics.subscribe("cache-c"));
    assert_eq!(topics.commands(&mut connection), (vec![], vec![]));
    let commands = topics.on_prefix_denied(&"cache-".into(), &mut connection);
    assert_eq!(names(&commands), ["+cache-b", "+cache-c"]);
    let completed: Vec<_> =
        commands.iter().flat_map(|command| topics.on_reply(command, &mut connection)).collect();
    assert_eq!(completed, [new]);
    let _ = topics.subscribe("cache-a");
    assert_eq!(names(&topics.commands(&mut connection).0), ["+cache-a"]);
    topics.unsubscribe("cache-a");
    assert_eq!(names(&topics.commands(&mut connection).0), ["-cache-a"]);
    assert!(!topics.is_subscribed("cache-a") && topics.find("cache-d").is_none());
}

#[test]
fn an_unconfirmed_subscription_expires_once() {
    let topics = DesiredTopics::default();
    let (mut connection, _) = topics.connect();
    let _ = topics.subscribe("given up");
    topics.unsubscribe("given up");
    let subscription = pending(topics.subscribe("a"));
    let after = Instant::now() + SUBSCRIBE_TIMEOUT + Duration::from_millis(1);
    assert!(topics.take_expired(Instant::now()).is_empty());
    assert_eq!(topics.take_expired(after), [subscription]);
    let command = topics.commands(&mut connection).0.pop().unwrap();
    assert_eq!(topics.on_reply(&command, &mut connection), []);
    assert!(topics.take_expired(after).is_empty());
}

#[test]
fn churn_without_a_connection_leaves_nothing_behind() {
    let topics = DesiredTopics::default();
    let _ = topics.connect();
    topics.disconnect();
    for number in 0..10_000 {
        let _ = topics.subscribe(&number.to_string());
    }
    for number in 0..10_000 {
        topics.unsubscribe(&number.to_string());
    }
    let after = Instant::now() + SUBSCRIBE_TIMEOUT;
    assert!(topics.take_expired(after).is_empty());
    let state = topics.lock();
    assert!(state.changes.is_none());
    assert!(state.topics.capacity() < 100 && state.pending.capacity() < 100);
    assert!(state.deadlines.capacity() < 100);
    drop(state);
    assert_eq!(topics.connect().1, []);
}

#[test]
fn a_late_prefix_takes_over_its_topics() {
    let topics = DesiredTopics::default();
    let (mut connection, _) = topics.connect();
    for topic in ["news.1", "other"] {
        pending(topics.subscribe(topic));
    }
    assert_eq!(names(&topics.commands(&mut connection).0), ["+news.1", "+other"]);
    topics.subscribe_prefix("news.");
    // In this order: Redis would deliver a message twice otherwise.
    let expected =
        [TopicCommand::Unsubscribe("news.1".into()), TopicCommand::SubscribePrefix("news.".into())];
    let (commands, _) = topics.commands(&mut connection);
    assert_eq!(commands, expected);
    assert_eq!(topics.on_reply(&commands[1], &mut connection).len(), 1, "news.1 was pending");
    assert!(topics.is_kept("news.1"));
    // Where the prefix is denied, the topic is subscribed again.
    let commands = topics.on_prefix_denied(&"news.".into(), &mut connection);
    assert_eq!(names(&commands), ["+news.1"]);
}
