//! What must hold after every step: I1, I2, I3 and I11 against what the nodes really run.

use crate::fleet::walk::World;

impl World<'_> {
    fn running(&self) -> u32 {
        let nodes: u32 = self.nodes.iter().map(|node| node.process.in_flight).sum();
        nodes + self.ghosts.iter().map(|ghosts| ghosts.count).sum::<u32>()
    }

    /// I1, I2, I3 and I11, or what broke.
    pub(super) fn check(&mut self) -> Result<(), String> {
        let running = self.running();
        self.most = self.most.max(running);
        self.ledger.settle(&self.store);
        self.check_time()?;
        self.ledger
            .check(&self.store, running)
            .map_err(|broken| broken.to_string())
    }

    /// I11: between any two moments store time gains at most the time that has passed, the drift of the clocks that
    /// measured it, and one slack.
    fn check_time(&mut self) -> Result<(), String> {
        let Some((epoch, time)) = self.store.time() else {
            return Ok(());
        };
        let now = i64::try_from(self.now / 1000).expect("short");
        let ahead = i64::try_from(time.as_micros()).expect("short") - now;
        let least = match self.behind {
            Some((known, least)) if known == epoch => least.min(ahead),
            _ => ahead,
        };
        self.behind = Some((epoch, least));
        let slack = i64::try_from(self.slack.as_micros()).expect("short");
        if ahead > least + slack + now / 50 {
            return Err(format!(
                "I11: store time gained {} us on {slack} us",
                ahead - least
            ));
        }
        Ok(())
    }
}
