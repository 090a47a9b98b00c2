//! The monitor.

use crate::lab::*;
use crate::table::everything;
use netmode_kernel::monitor::{Change, Monitor};
use netmode_model::nft::TableName;
use netmode_model::{Op, Place};
use std::time::Duration;

/// What comes until nothing has come for a while.
async fn seen(monitor: &mut Monitor) -> Vec<Change> {
    let mut changes = Vec::new();
    while let Ok(change) = tokio::time::timeout(Duration::from_millis(200), monitor.next()).await {
        changes.push(change.unwrap());
    }
    changes
}

#[test]
fn what_others_change_is_told_and_our_own_table_writes_are_not() {
    let lab = lab!();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut monitor = Monitor::open(&lab.kernel).unwrap();
        lab.apply(&bridge());
        let changes = seen(&mut monitor).await;
        let named =
            |change: &Change| matches!(change, Change::Link { name: Some(n), gone: false, .. } if n.as_str() == "nm0");
        assert!(changes.iter().any(named), "{changes:?}");
        let address = |change: &Change| matches!(change, Change::Address { gone: false, .. });
        assert!(changes.iter().any(address) && !changes.contains(&Change::Route), "{changes:?}");
        run("ip", &["link", "set", "nm0", "down"], "");
        let changes = seen(&mut monitor).await;
        assert!(changes.iter().any(|c| matches!(c, Change::Link { stands: false, gone: false, .. })), "{changes:?}");
        run("ip", &["link", "set", "nm0", "up"], "");
        seen(&mut monitor).await;
        run("ip", &["route", "add", "default", "dev", "nm0"], "");
        assert_eq!(seen(&mut monitor).await, [Change::Route], "the way out changed");
        lab.apply(&[Op::TableAdd(everything(false))]);
        assert_eq!(seen(&mut monitor).await, []);
        let stranger = lab.another();
        stranger.apply(&[Op::TableDel { table: TableName::inet("nm") }]).unwrap();
        assert_eq!(seen(&mut monitor).await, [Change::Table]);
        lab.apply(&[Op::LinkDel { at: Place::Host, dev: dev("nm0") }]);
        let changes = seen(&mut monitor).await;
        assert!(changes.iter().any(|c| matches!(c, Change::Link { gone: true, .. })), "{changes:?}");
    });
}
