//! Cursors and their lives, and who is told what.
