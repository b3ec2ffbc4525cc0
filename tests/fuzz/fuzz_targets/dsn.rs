//! Any octets are a delivery-status or feedback-report part.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|part: &[u8]| {
    let report = nixie::mail::dsn::parse(part);
    for recipient in &report.recipients {
        let diagnostic = recipient.diagnostic.as_ref();
        assert!(diagnostic.is_none_or(|d| !d.text.contains('\0')));
    }
    let _ = nixie::mail::arf::parse(part);
});
