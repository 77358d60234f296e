//! Loopback ports. An open port does not prove whose server is behind it, so a start asks three questions: is it closed
//! before, does our child live, does our child hold it.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use crate::failure::{Failure, Outcome};

/// Below those that the kernel gives to outgoing connections (from 32,768 on Linux, from 49,152 elsewhere): a client that
/// tries a dead broker again and again must neither take its port nor reach itself.
const OURS: std::ops::Range<u16> = 20_000..32_000;

/// A port that nobody listens on at this moment.
pub(super) fn free() -> Outcome<u16> {
    let bound = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    let found = (0..100).map(|_| fastrand::u16(OURS)).find(|port| bound(*port));
    found.ok_or_else(|| Failure::said("found no free port on loopback"))
}

/// Whether somebody accepts connections there.
pub(super) fn is_open(port: u16) -> bool {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    TcpStream::connect_timeout(&address, Duration::from_millis(500)).is_ok()
}

/// Whether the process itself listens there: the socket's inode is in the kernel's table of listeners and among the
/// process's open files. Without `/proc` an open port must do, since it was closed before the process started.
pub(super) fn is_held_by(pid: u32, port: u16) -> bool {
    let tables: Vec<_> = ["tcp", "tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(format!("/proc/net/{table}")).ok())
        .collect();
    if tables.is_empty() {
        return is_open(port);
    }
    let inodes: Vec<_> = tables.iter().flat_map(|table| listeners(table, port)).collect();
    let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    files
        .filter_map(|file| fs::read_link(file.ok()?.path()).ok())
        .any(|link| inodes.iter().any(|inode| link.as_os_str() == format!("socket:[{inode}]").as_str()))
}

/// The inodes of the sockets in a `/proc/net/tcp` table that listen on `port`, whatever the address.
fn listeners(table: &str, port: u16) -> impl Iterator<Item = &str> {
    const LISTEN: &str = "0A";
    table.lines().skip(1).filter_map(move |line| {
        let mut columns = line.split_ascii_whitespace().skip(1);
        let (_, local) = columns.next()?.rsplit_once(':')?;
        let state = columns.nth(1)?;
        let inode = columns.nth(5)?;
        (u16::from_str_radix(local, 16) == Ok(port) && state == LISTEN).then_some(inode)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_known_by_its_holder() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(is_open(port));
        assert!(is_held_by(std::process::id(), port));
        assert!(!is_held_by(1, port) || std::process::id() == 1);
        drop(listener);
        assert!(!is_open(port));
        assert!(!is_held_by(std::process::id(), port));
    }

    #[test]
    fn reads_the_kernels_table() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 0100007F:2384 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 777 1 0 100 0 0 10 0\n\
            1: 0100007F:2384 0100007F:0050 01 00000000:00000000 00:00000000 00000000     0        0 778 1 0 100 0 0 10 0\n";
        assert_eq!(listeners(table, 0x2384).collect::<Vec<_>>(), ["777"]);
        assert_eq!(listeners(table, 0x2385).count(), 0);
    }
}
