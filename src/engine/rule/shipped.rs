//! The rules that come with the program, in the order in which they are asked.

/// One file, by its name beneath `config/rules/`.
macro_rules! file {
    ($name:literal) => {
        (
            concat!("config/rules/", $name),
            include_str!(concat!("../../../config/rules/", $name)),
        )
    };
}

/// Providers first, for readers; which rule wins does not depend on it. Among the general files it
/// does: what tells of us or of the message is asked before what tells of the recipient, so that no
/// list, quota or policy of theirs is taken for a dead mailbox.
pub(super) const FILES: &[(&str, &str)] = &[
    file!("google.toml"),
    file!("microsoft.toml"),
    file!("yahoo.toml"),
    file!("provider.toml"),
    file!("europe.toml"),
    file!("asia.toml"),
    file!("gateway.toml"),
    file!("trap.toml"),
    file!("blocklist.toml"),
    file!("auth.toml"),
    file!("sender.toml"),
    file!("limit.toml"),
    file!("message.toml"),
    file!("recipient.toml"),
    file!("network.toml"),
    file!("policy.toml"),
    file!("status.toml"),
    file!("code.toml"),
];
