//! Which program has a port, where Linux lets us see it: the socket's inode in /proc/net/tcp, then whose it is.

use std::fs;

/// Name and number of the process that listens at a port; `None` where that cannot be seen.
pub(crate) fn port_owner(port: u16) -> Option<String> {
    let inode = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .find_map(|table| listening_inode(&table, port))?;
    let wanted = format!("socket:[{inode}]");
    for process in fs::read_dir("/proc").ok()?.flatten() {
        let name = process.file_name();
        let Some(number) = name.to_str().filter(|name| name.bytes().all(|b| b.is_ascii_digit())) else {
            continue;
        };
        let Ok(files) = fs::read_dir(process.path().join("fd")) else { continue };
        let holds = |link: std::path::PathBuf| link.to_str() == Some(wanted.as_str());
        if files.flatten().any(|file| fs::read_link(file.path()).is_ok_and(holds)) {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(format!("'{}' (process {number})", name.trim()));
        }
    }
    None
}

/// The inode of the socket that listens at `port`, in the form of /proc/net/tcp.
fn listening_inode(table: &str, port: u16) -> Option<String> {
    const LISTEN: &str = "0A";
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (_, local) = fields.get(1)?.rsplit_once(':')?;
        let listens = *fields.get(3)? == LISTEN && u16::from_str_radix(local, 16).ok()? == port;
        listens.then(|| fields.get(9).map(|inode| (*inode).to_owned()))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_table() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
                     0: 0100007F:1EC6 00000000:0000 01 00000000:00000000 00:00000000 00000000  1000        0 11 1\n   \
                     1: 0100007F:1EC6 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 23456 1\n";
        assert_eq!(listening_inode(table, 7878).as_deref(), Some("23456"));
        assert_eq!(listening_inode(table, 7879), None);
    }
}
