//! What the tests of outages stand on: a broker that one test may kill and restart.

use std::net::TcpStream;
use throughline::{Message, Publisher, Telemetry, kafka::Kafka};
use throughline_tests::within;
use xtask::OwnKafka;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_keeps_its_log_over_a_kill_and_is_gone_in_the_end() {
    let builder =
        OwnKafka::builder().listener("SECOND", "PLAINTEXT").property("offsets.retention.minutes", "1");
    let mut broker = tokio::task::block_in_place(|| builder.start()).unwrap();
    let second = broker.address_of("SECOND").unwrap();
    assert_ne!(second, broker.address());
    Kafka::new(broker.address()).admin().create_topic("t", 1).await.unwrap();
    for (n, address) in [(0, second.clone()), (1, broker.address())] {
        let publisher = Publisher::with_telemetry(Kafka::new(address).topic("t"), &Telemetry::off());
        let receipt = within("the receipt", publisher.send(Message::new("one"))).await.unwrap();
        assert_eq!(receipt.offset, Some(n), "the log goes on");
        tokio::task::block_in_place(|| broker.restart()).unwrap();
    }
    let (address, folder) = (broker.address(), broker.folder().to_owned());
    assert!(TcpStream::connect(&address).is_ok() && folder.exists());
    drop(broker);
    assert!(TcpStream::connect(address).is_err() && TcpStream::connect(second).is_err());
    assert!(!folder.exists());
}
