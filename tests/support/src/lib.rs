//! Throw-away servers and faults for the tests of this workspace.
