//! Automatic answers: what people's mail programs and servers say in their absence (RFC 3834), and what asks
//! a sender to prove that they are a person.
//!
//! A field that says so is enough; so is a subject that answering programs begin with, in the languages that
//! they speak. Words that people use in subjects too need a field beside them that programs set.

use crate::mail::letter::Letter;

/// As much of an answer as is kept, in characters.
const MAX_TEXT: usize = 600;

/// What answering programs begin their subjects with.
#[rustfmt::skip]
const SUBJECTS: &[&str] = &[
    // English
    "automatic reply", "auto reply", "auto-reply", "autoreply", "[auto-reply", "[autoreply", "[auto reply",
    "auto response", "auto-response", "autoresponse", "autoresponder", "automated reply",
    "automated response", "automatic response", "out of office", "out of the office", "out-of-office",
    "ooo:", "[ooo]", "away until", "i am out of the office", "i'm out of the office",
    "i am currently out of", "i'm currently out of", "is out of the office", "vacation message",
    "vacation reply", "away from my mail", "away from the office",
    // German
    "abwesenheit", "automatische antwort", "automatische abwesenheit", "automatische rückantwort",
    "automatische eingangsbestätigung", "autom. antwort", "nicht im büro", "ich bin nicht im büro",
    "ich bin außer haus", "außer haus:",
    // French, Spanish, Italian, Portuguese, Romanian, Catalan
    "réponse automatique", "reponse automatique", "absence du bureau", "absent du bureau",
    "message d'absence", "absent(e) du bureau", "notification d'absence", "respuesta automática",
    "respuesta automatica", "fuera de la oficina", "fuera de oficina", "mensaje de ausencia",
    "risposta automatica", "fuori ufficio", "fuori sede:", "risponditore automatico",
    "resposta automática", "resposta automatica", "fora do escritório", "fora do escritorio",
    "ausência temporária", "răspuns automat", "raspuns automat", "resposta automàtica",
    // Northern languages
    "autosvar", "automatiskt svar", "automatisk svar", "frånvaro", "ej på kontoret", "ikke på kontoret",
    "ikke til stede", "fraværsmelding", "fraværsbesked", "automatisch antwoord", "automatische reactie",
    "automatisch bericht", "afwezigheid", "afwezig:", "niet op kantoor", "niet aanwezig",
    "automaattinen vastaus", "poissaoloviesti", "poissa toimistosta", "sjálfvirkt svar", "automaatvastus",
    // Slavic languages, Hungarian, Turkish, Greek
    "odpowiedź automatyczna", "odpowiedz automatyczna", "automatyczna odpowiedź", "autoodpowiedź",
    "poza biurem", "nieobecność", "nieobecny w biurze", "automatická odpověď", "automatická odpoveď",
    "mimo kancelář", "samodejni odgovor", "automatski odgovor", "автоответ", "автоматический ответ",
    "автоматична відповідь", "автовідповідь", "автоматичен отговор", "нет на месте",
    "нет на рабочем месте", "вне офиса", "automatikus válasz", "házon kívül", "automātiskā atbilde",
    "automatinis atsakymas", "otomatik yanıt", "otomatik cevap", "ofis dışında", "αυτόματη απάντηση",
    "εκτός γραφείου",
    // Eastern languages
    "自動応答", "自動返信", "【自動返信】", "[自動返信", "【自動応答】", "不在通知", "不在のお知らせ", "不在連絡", "自动回复", "自動回覆", "自动答复", "自動答覆",
    "不在办公室", "不在辦公室", "자동 회신", "자동회신", "부재중", "תשובה אוטומטית", "מענה אוטומטי", "رد تلقائي",
    "الرد التلقائي", "ตอบกลับอัตโนมัติ", "trả lời tự động", "balasan otomatis",
];

/// What programs and people alike begin their subjects with.
#[rustfmt::skip]
const AMBIGUOUS: &[&str] = &[
    "auto:", "vacation", "on vacation", "away", "i am away", "i'm away", "holiday", "on leave", "on holiday",
    "urlaub", "im urlaub", "absence", "absent", "en congé", "congés", "vacances", "vacaciones", "ausente",
    "ausencia", "ausência", "assente", "assenza", "ferie", "férias", "semester", "ferie", "på semester",
    "vakantie", "afwezig", "urlop", "в отпуске", "отпуск", "не на работе", "不在", "外出", "休暇", "出張", "休假",
    "poissa", "loma", "fravær", "dovolená", "szabadság",
];

/// What those begin their subjects with, or say in them, who ask senders to prove that they are people.
#[rustfmt::skip]
const CHALLENGES: &[&str] = &[
    "please confirm your message", "please confirm your e-mail", "confirm your message to",
    "(verification)", "requires verification", "sender verification required", "verify your message",
    "please verify your message", "confirmation required for your message",
    "your email requires verification", "boxbe: action required", "action required to deliver",
];

/// The name of the kind of automatic answer that a message is; `None` where it seems to be none.
pub(super) fn tell(letter: &Letter<'_>) -> Option<&'static str> {
    let subject = letter.subject().trim_start();
    if letter.has("X-TMDA-Fingerprint") || CHALLENGES.iter().any(|mark| subject.contains(mark)) {
        return Some("challenge");
    }
    if says_so(letter) {
        return Some("rfc3834");
    }
    let answers = || begins(letter, AMBIGUOUS) && is_by_program(letter);
    by_subject(letter).or_else(|| answers().then_some("auto-reply"))
}

/// As [`tell`], by a subject that nothing else has.
pub(super) fn by_subject(letter: &Letter<'_>) -> Option<&'static str> {
    begins(letter, SUBJECTS).then_some("auto-reply")
}

/// Whether the subject begins with one of the marks, in an answer too.
fn begins(letter: &Letter<'_>, marks: &[&str]) -> bool {
    let subject = letter.subject().trim_start();
    let subject = ["re:", "aw:", "sv:", "antw:"]
        .iter()
        .find_map(|mark| subject.strip_prefix(mark))
        .map_or(subject, str::trim_start);
    marks.iter().any(|mark| subject.starts_with(mark))
}

/// Whether a field says that this is an automatic answer.
fn says_so(letter: &Letter<'_>) -> bool {
    const PRESENT: [&str; 10] = [
        "X-Autoreply",
        "X-Auto-Reply",
        "X-AutoReply-From",
        "X-Autorespond",
        "X-Autoresponder",
        "X-Auto-Responder",
        "X-Mail-Autoreply",
        "X-Mail-Autoresponder",
        "X-Vacation",
        "Auto-Replied",
    ];
    letter.field_names().any(|name| {
        let Ok(name) = std::str::from_utf8(name) else {
            return false;
        };
        if PRESENT.iter().any(|known| name.eq_ignore_ascii_case(known)) {
            return true;
        }
        let value = || letter.field(name).unwrap_or_default().trim().to_ascii_lowercase();
        if name.eq_ignore_ascii_case("Auto-Submitted") {
            value().starts_with("auto-replied")
        } else if name.eq_ignore_ascii_case("Precedence") {
            matches!(&*value(), "auto_reply" | "auto-reply" | "autoreply")
        } else if name.eq_ignore_ascii_case("X-Autogenerated") {
            value() == "reply"
        } else {
            // What servers of webmail set on vacation messages.
            name.eq_ignore_ascii_case("X-POST-MessageClass") && value().starts_with("9; autoresponder")
        }
    })
}

/// Whether a program seems to have sent this: fields that people's mail lacks.
fn is_by_program(letter: &Letter<'_>) -> bool {
    let precedence = letter
        .field("Precedence")
        .unwrap_or_default()
        .to_ascii_lowercase();
    let submitted = letter
        .field("Auto-Submitted")
        .is_some_and(|a| !a.to_ascii_lowercase().starts_with("no"));
    let null = letter
        .field("Return-Path")
        .is_some_and(|path| path.trim() == "<>");
    submitted || null || letter.has("X-Auto-Response-Suppress") || matches!(&*precedence, "bulk" | "junk")
}

/// What the answer says, on one line, without what it quotes.
pub(super) fn text(letter: &Letter<'_>) -> String {
    let words = letter.words();
    let own = words
        .lines()
        .map(str::trim)
        .take_while(|line| !begins_quotation(line));
    let mut text = String::new();
    for word in own
        .filter(|line| !line.starts_with(['>', '|']))
        .flat_map(str::split_whitespace)
    {
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(word);
        if text.len() > MAX_TEXT {
            break;
        }
    }
    text.truncate(text.floor_char_boundary(MAX_TEXT));
    text
}

/// Whether a line begins what the answer quotes of the mail that it answers.
fn begins_quotation(line: &str) -> bool {
    line.starts_with("-----Original Message") || line.starts_with("-----Ursprüngliche Nachricht") || {
        line.ends_with(" wrote:") || line.ends_with(" schrieb:") || line.ends_with(" a écrit :")
    }
}
