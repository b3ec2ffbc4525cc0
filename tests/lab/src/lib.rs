//! The lab: what Nixie is tested and shown with. Real servers of our own, on loopback only, that need
//! nothing set up beforehand and leave nothing behind.
//!
//! | module | what it gives |
//! |---|---|
//! | [`provider`] | mailbox providers that follow a script: dead mailboxes, hidden limits, refusals |
//! | [`postfix`] | a private Postfix instance whose mail goes to those providers |
//! | [`postgres`] | a private Postgres that can be stopped and started again |
//! | [`nixie`] | the built `nixie`, as a process that can be killed and started again |
//! | [`dns`] | a name server with a zone of its own |
//! | [`login`] | a server that Postfix asks who has logged in |
//! | [`signer`] | a domain that signs (DKIM) and seals (ARC) mail |
//! | [`smtp`] | a client that gets a reply for each recipient |
//! | [`need`] | what the machine lacks, and whether that is an error |
//! | [`wait`], [`loopback`] | deadlines; addresses nobody else uses |
//!
//! On failure everything here returns an error that says what was waited for and what was there
//! instead; a test unwraps it.

pub mod dns;
pub mod login;
pub mod loopback;
pub mod need;
pub mod nixie;
pub mod postfix;
pub mod postgres;
pub mod provider;
pub mod signer;
pub mod smtp;
pub mod wait;
