//! dnf, of Enterprise Linux from 8 on. Its library also resolves for targets of the other rpm managers.

pub(in super::super) mod resolve;
