//! The hooks of a subscription: called as partitions come and go, and no harm done by one that panics.

use crate::common::{Member, fill, kafka, quick, topic, until};
use std::sync::{Arc, Mutex};

#[tokio::test]
async fn when_they_come_and_when_they_go() {
    let kafka = quick(kafka());
    let name = topic(&kafka, "hooks", 2).await;
    fill(&kafka, &name, 2, 4).await;
    let told = Arc::<Mutex<Vec<(char, Vec<i32>)>>>::default();
    let tell = |what| {
        let (told, name) = (told.clone(), name.clone());
        move |partitions: &[(&str, i32)]| {
            assert!(partitions.iter().all(|(topic, _)| *topic == name));
            let mut numbers: Vec<i32> = partitions.iter().map(|(_, number)| *number).collect();
            numbers.sort_unstable();
            told.lock().unwrap().push((what, numbers));
            assert_eq!(what, '-', "a panic in a hook");
        }
    };
    let plain = kafka.group(&name).topic(&name);
    let hooked = plain.clone().on_assigned(tell('+')).on_revoked(tell('-'));
    let mut member = Member::join(&hooked, 100).await;
    assert_eq!(member.handle(4).await.len(), 4);
    assert_eq!(*told.lock().unwrap(), [('+', vec![0, 1])]);
    let other = Member::join(&plain, 100).await;
    until(|| told.lock().unwrap().len() == 2).await;
    let moved = told.lock().unwrap()[1].clone();
    assert!(moved.0 == '-' && moved.1.len() == 1, "{moved:?}");
    // What was done is committed before the word.
    let committed = kafka.admin().committed(&name, &name).await.unwrap();
    assert_eq!(committed[usize::try_from(moved.1[0]).unwrap()], (moved.1[0], Some(2)));
    member.close().await.unwrap();
    assert_eq!(told.lock().unwrap().last(), Some(&('-', vec![1 - moved.1[0]])));
    other.close().await.unwrap();
}
