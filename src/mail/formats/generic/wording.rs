//! What notices say of mail that was not delivered, in the languages that mail systems speak. All in lower
//! case; phrases long enough that ordinary mail from a daemon (a quota warning, a digest) does not say them.

use regex::Regex;
use std::sync::OnceLock;

/// As much of the words as counts for their opening, in octets.
const OPENING: usize = 1500;

#[rustfmt::skip]
static FAILS: Phrases = Phrases::of(&[
    // English
    "undeliver", "non-deliver", "nondeliver", "not delivered", "not be delivered", "could not deliver",
    "couldn't deliver", "cannot deliver", "can't deliver", "unable to deliver", "delivery failed",
    "delivery fail", "delivery status", "delivery error", "delivery problem", "delivery notification",
    "failed delivery", "failure notice", "failure delivering", "failed to deliver", "failed to send",
    "mail failure", "returned mail", "mail returned", "returned to sender", "returned message",
    "message returned", "was not sent", "could not be sent", "delivery delay", "still being retried",
    "has not yet been delivered", "not been delivered", "rejected your message", "message rejected",
    "message refused", "mail rejected", "mail system error", "did not reach",
    // German
    "unzustellbar", "nicht zugestellt", "zustellung fehlgeschlagen", "zustellfehler", "nicht zustellbar",
    "unzustellbarkeit", "konnte nicht übermittelt", "nicht ausgeliefert", "zustellung verzögert",
    "zustellung ihrer", "konnte nicht versendet", "nicht gesendet werden",
    // French
    "non remis", "n'a pas pu être", "n’a pas pu être", "n'a pu être", "échec de la remise",
    "echec de la remise", "échec de remise", "non distribu", "impossible de remettre",
    "impossible de livrer", "non délivré", "non-remise", "échec d'envoi", "remise différée",
    "n'a pas été remis",
    // Spanish
    "no se pudo entregar", "no se ha podido entregar", "no se puede entregar", "no entregado",
    "no fue entregado", "no ha sido entregado", "error de entrega", "error en la entrega",
    "fallo en la entrega", "fallo de entrega", "entrega fallida", "no se ha entregado",
    "imposible entregar",
    // Italian
    "mancato recapito", "non recapitabile", "non consegnat", "mancata consegna", "impossibile consegnare",
    "impossibile recapitare", "non è stato possibile recapitare", "non è stato possibile consegnare",
    "non è stato recapitato", "messaggio respinto", "consegna fallita", "recapito non riuscito",
    // Portuguese
    "não entregue", "nao entregue", "não foi entregue", "não pôde ser entregue", "não pode ser entregue",
    "falha na entrega", "falha de entrega", "não foi possível entregar", "mensagem devolvida",
    "entrega atrasada",
    // Dutch
    "onbestelbaar", "niet bezorgd", "niet worden bezorgd", "niet afgeleverd", "niet worden afgeleverd",
    "bezorging mislukt", "aflevering mislukt",
    // Northern languages
    "kunde inte levereras", "inte leverer", "olevererbar", "kunne ikke leveres", "ikke leveret",
    "ikke levert", "kan ikke leveres", "uleverbar", "ei voitu toimittaa", "toimitus epäonnistui",
    // Polish, Czech, Hungarian, Turkish
    "nie można dostarczyć", "nie dostarczono", "niedostarcz", "nie została dostarczona",
    "nie mogła zostać dostarczona", "nie udało się dostarczyć", "zwrot wiadomości", "nedoručiteln",
    "nebylo možné doručit", "nelze doručit", "nem kézbesíthető", "kézbesítés sikertelen",
    "nem sikerült kézbesíteni", "teslim edilemedi", "iletilemedi", "gönderilemedi",
    // Russian, Ukrainian
    "недоставлен", "не доставлен", "не было доставлено", "не удалось доставить",
    "не может быть доставлено", "невозможно доставить", "доставка не удалась", "ошибка доставки",
    "не получилось доставить", "не доставлено", "неможливо доставити", "не вдалося доставити",
    // Japanese, Chinese, Korean
    "配信でき", "配信不能", "配信に失敗", "配送でき", "配送不能", "配達でき", "送信でき", "お届けでき", "届けることができ", "届きませんでした", "送達でき", "不達",
    "エラーメール", "送信エラー", "宛先不明", "退信", "无法投递", "無法投遞", "无法送达", "無法傳遞", "无法传递", "投递失败", "投遞失敗",
    "发送失败", "未能送达", "無法送達", "被退回", "邮件被拒", "전송 실패", "전송에 실패", "전송하지 못", "발송 실패", "발송에 실패", "발송하지 못", "배달하지 못",
    "전달되지 않", "전달하지 못", "반송",
]);

/// What notices say too, and so do logs, alerts, statistics and people who speak of mail.
#[rustfmt::skip]
static HINTS: Phrases = Phrases::of(&[
    "mail delivery", "message delivery", "delivery report", "being returned", "bounced", "was rejected",
    "has been rejected", "permanent error", "permanent failure", "fatal error", "transient", "no such user",
    "user unknown", "unknown user", "unknown recipient", "recipient rejected", "delayed", "verzögert",
    "zurückgewiesen", "rückläufer", "retardé", "a été rejeté", "devuelto", "retrasad", "ha sido rechazado",
    "in ritardo", "foi rejeitad", "geweigerd", "vertraagd", "opóźnion", "возвращен", "задержк", "遅延", "返送",
    "延迟",
]);

/// How notices speak to whoever sent the mail. Logs, alerts and statistics speak to nobody.
#[rustfmt::skip]
static ADDRESSES: Phrases = Phrases::of(&[
    "your message", "your mail", "your e-mail", "your email", "you sent", "you have sent", "you tried to",
    "you were trying", "you addressed", "following message", "following address", "following recipient",
    "following user", "intended recipient", "original message", "message sent to", "message could not",
    "mail could not", "e-mail could not", "email could not", "message was not", "message has not",
    "message to <", "mail to <", "delivery to ", "deliver to ",
    "ihre nachricht", "ihre mail", "ihre e-mail", "ihre email", "deine nachricht", "folgende adress",
    "folgenden adress", "folgende empfänger", "folgenden empfänger", "nachfolgende",
    "votre message", "votre courriel", "votre mail", "votre e-mail", "destinataires suivants",
    "destinataire suivant", "adresses suivantes", "adresse suivante",
    "su mensaje", "su correo", "el mensaje", "siguiente",
    "il tuo messaggio", "il suo messaggio", "il messaggio", "seguent",
    "sua mensagem", "seu e-mail", "seu email", "a mensagem", "seguinte",
    "uw bericht", "uw e-mail", "je bericht", "volgende",
    "ditt meddelande", "din meddelelse", "meddelelsen", "meldingen din", "din melding", "följande",
    "følgende", "viesti",
    "wiadomoś", "zpráv", "levelet", "üzenet", "iletiniz", "mesajınız",
    "ваше письмо", "ваше сообщение", "вашего письма", "вашего сообщения", "следующи", "следующе", "ваш лист",
    "ваше повідомлення",
    "宛先", "あて先", "受信者", "お送り", "您的邮件", "您的郵件", "收件人", "收件者", "您发送", "수신자", "받는 사람", "보내신", "메일을",
]);

/// What those begin their subjects with, or say in them, who tell of many mails at once.
#[rustfmt::skip]
const ROUND_UPS: &[&str] = &[
    "summary", "summaries", "digest", "statistic", "logwatch", "daily ", "weekly ", "monthly ", "cron <",
    "[fail2ban]", "log report", "bounce rate", "tagesbericht", "wochenbericht", "zusammenfassung", "statistik", "résumé",
    "resumen", "riepilogo", "resumo", "сводка", "отчет за", "日報", "日报", "周报",
];

/// How answers and forwarded mails begin their subjects.
const TALKS: &[&str] = &[
    "re:", "re[", "aw:", "sv:", "antw:", "odp:", "vs:", "fw:", "fwd:", "wg:", "tr:", "rv:", "res:", "rif:",
];

#[rustfmt::skip]
static WHY: Phrases = Phrases::of(&[
    "no such", "unknown", "does not exist", "doesn't exist", "not found", "invalid", "disabled",
    "inactive", "over quota", "quota exceeded", "exceeded", "is full", "mailbox full", "not listed",
    "rejected", "refused", "denied", "not allowed", "too large", "too big", "blocked", "timed out",
    "timeout", "no account", "unrouteable", "suspended", "expired", "unbekannt", "existiert nicht",
    "nicht gefunden", "voll", "inconnu", "n'existe pas", "introuvable", "pleine", "desconocid",
    "no existe", "lleno", "inexistente", "não existe", "cheia", "sconosciut", "non esiste", "piena",
    "onbekend", "bestaat niet", "vol ", "nieznany", "nie istnieje", "не существует", "не найден",
    "неизвестн", "переполнен", "存在し", "見つかり", "不明", "いっぱい", "容量", "不存在", "已满", "拒绝",
    "unavailable", "has moved", "no longer", "deactivated", "finns inte", "finnes ikke", "findes ikke", "okänd", "ukendt", "ukjent", "är full",
    "er full", "er fuld", "ei ole olemassa", "ei löydy", "tuntematon", "täynnä", "neexistuje", "je plná",
    "nem létezik", "ismeretlen", "megtelt", "mevcut değil", "bulunamadı", "존재하지", "초과", "없습니다", "가득",
]);

/// Labels that announce why: `Reason: the mailbox is closed`.
#[rustfmt::skip]
const REASONS: &[&str] = &[
    "reason", "the reason", "reason for failure", "failure reason", "error", "error message", "cause",
    "diagnostic", "details", "grund", "fehler", "fehlermeldung", "ursache", "begründung", "raison", "motif",
    "erreur", "motivo", "razón", "causa", "errore", "erro", "reden", "oorzaak", "fout", "orsak", "årsag",
    "årsak", "fejl", "feil", "syy", "powód", "przyczyna", "důvod", "chyba", "hiba", "oka", "neden", "sebep",
    "hata", "причина", "ошибка", "理由", "原因", "退信原因", "エラー内容", "사유", "반송 사유", "실패 사유", "발송 실패 사유",
];

#[rustfmt::skip]
static DELAYS: Phrases = Phrases::of(&[
    "delayed", "delivery delay", "still being retried", "will be retried", "will keep trying",
    "will continue to try", "will retry", "has not yet been delivered", "not yet been delivered",
    "still trying", "warning: message", "warning: could not send", "could not send message for past",
    "do not need to resend", "not need to resend", "temporarily deferred", "(delay)", "transient",
    "verzögert", "verzögerung", "wird weiter versucht", "weitere zustellversuche", "retardé",
    "remise différée", "retrasad", "demora en la entrega", "in ritardo", "entrega atrasada",
    "atraso na entrega", "vertraagd", "opóźnion", "задержк", "отложен", "遅延", "延迟", "延遲",
]);

#[rustfmt::skip]
static FINAL: Phrases = Phrases::of(&[
    "permanent", "giving up", "given up", "gave up", "will not be retried", "no longer",
    "could not be delivered", "has been returned", "returned to sender", "undeliverable", "failed",
    "failure", "fatal", "unzustellbar", "fehlgeschlagen", "échec", "fallo", "falha", "недоставлен",
    "не доставлен", "不能",
]);

#[rustfmt::skip]
static INVITES: Phrases = Phrases::of(&[
    "contact", "for assistance", "for help", "please write", "please send", "send mail to",
    "send email to", "if you have any questions", "questions", "postmaster for", "forward this",
    "report this", "mailto:", "write to", "new address", "instead", "wenden sie sich", "kontaktieren", "rückfragen", "contactez",
    "adressez-vous", "póngase en contacto", "contacte", "contattare", "entre em contato", "neem contact",
    "skontaktuj", "обратитесь", "свяжитесь", "お問い合わせ", "联系", "聯絡", "message-id", "sender:", "from:",
    "return-path", "reply-to", "subject:",
]);

#[rustfmt::skip]
const LABELS: &[&str] = &[
    "recipient", "failed address", "failed", "to", "address", "email address", "e-mail address", "user",
    "mailbox", "rcpt", "destination", "intended for", "sent to", "original-recipient", "final-recipient",
    "empfänger", "empfängeradresse", "adressat", "an", "destinataire", "adresse", "destinatario",
    "destinatário", "dirección", "indirizzo", "para", "ontvanger", "geadresseerde", "odbiorca", "adresat",
    "получатель", "адрес", "адресат", "кому", "宛先", "あて先", "送信先", "送付先", "受信者", "メールアドレス", "收件人", "收件者", "收件地址", "받는 사람",
    "받는이", "수신자", "수신인",
    "mottagare", "modtager",
];

#[rustfmt::skip]
static BOILERPLATE: Phrases = Phrases::of(&[
    "automatically generated", "created automatically", "delivery status notification", "do not reply",
    "automatisch erstellt", "automatisch generiert", "générée automatiquement", "généré automatiquement",
    "generado automáticamente", "generato automaticamente", "gerada automaticamente", "自動的に", "自动生成",
]);

/// How notices guess at reasons, or ask their readers to look for them.
#[rustfmt::skip]
static HEDGES: Phrases = Phrases::of(&[
    "possible reason", "possible cause", "usual reason", "usual cause", "common reason", "common cause",
    "most likely", "perhaps", "may be", "might be", "maybe", "please check", "please verify", "check that",
    "check the", "double-check", "verify that", "make sure", "misspell", "typo", "if the", "if you", "in case", "usually", "normally", "in der regel", "normalerweise", "généralement", "normalmente",
    "prüfen sie", "überprüfen", "möglicherweise", "mögliche gründe", "mögliche ursache", "eventuell",
    "vielleicht", "falls ", "tippfehler", "vérifie", "peut-être", "raisons possibles", "causes possibles",
    "compruebe", "verifique", "posibles", "posiblemente", "puede que", "quizá", "verifica", "controlla",
    "possibilmente", "possibili", "forse", "possíveis", "possivelmente", "talvez", "controleer",
    "mogelijke", "misschien", "kontrollera", "kanske", "kontroller ", "måske", "kanskje", "proszę sprawdzić",
    "sprawdź", "możliwe przyczyny", "zkontrolujte", "проверьте", "возможные", "возможно,", "ご確認", "確認して",
    "可能性", "可能是", "可能的原因", "请检查", "请核实", "請檢查", "확인해",
]);

/// Phrases that are looked for all at once, in one pass over a text.
struct Phrases {
    list: &'static [&'static str],
    automaton: OnceLock<Option<Regex>>,
}

impl Phrases {
    const fn of(list: &'static [&'static str]) -> Self {
        Self {
            list,
            automaton: OnceLock::new(),
        }
    }

    /// Whether a text in lower case holds one of them.
    fn are_in(&self, text: &str) -> bool {
        let automaton = self.automaton.get_or_init(|| {
            let escaped: Vec<String> = self.list.iter().map(|phrase| regex::escape(phrase)).collect();
            Regex::new(&escaped.join("|")).ok()
        });
        match automaton {
            Some(automaton) => automaton.is_match(text),
            None => self.list.iter().any(|phrase| text.contains(phrase)),
        }
    }
}

/// Whether a text speaks of mail that was not delivered, or not yet.
pub(super) fn fails(text: &str) -> bool {
    let text = text.to_lowercase();
    FAILS.are_in(&text) || HINTS.are_in(&text)
}

/// As [`fails`], in words that hardly anything but a notice has.
pub(super) fn fails_surely(text: &str) -> bool {
    FAILS.are_in(&text.to_lowercase())
}

/// The opening of the words.
pub(super) fn opening(words: &str) -> &str {
    &words[..words.floor_char_boundary(OPENING)]
}

/// Whether a text speaks to whoever sent the mail that it is about.
pub(super) fn speaks_to_sender(text: &str) -> bool {
    ADDRESSES.are_in(&text.to_lowercase())
}

/// Whether a subject, in lower case, is one of talk, or of a round-up of many mails.
pub(super) fn is_talk_or_round_up(subject: &str) -> bool {
    let subject = subject.trim_start();
    TALKS.iter().any(|mark| subject.starts_with(mark)) || ROUND_UPS.iter().any(|mark| subject.contains(mark))
}

/// Whether a line announces the reason beneath it: `… was rejected for the following reason:`.
pub(super) fn announces_reason(line: &str) -> bool {
    const ANNOUNCE: [&str; 7] = [
        "following reason",
        "following error",
        "folgendem grund",
        "folgenden grund",
        "raison suivante",
        "siguiente motivo",
        "seguinte motivo",
    ];
    line.ends_with([':', '\u{ff1a}']) && {
        let line = line.to_lowercase();
        ANNOUNCE.iter().any(|phrase| line.contains(phrase))
    }
}

/// What stands behind a label that announces why.
pub(super) fn reason(line: &str) -> Option<&str> {
    let (label, reason) = line.split_once([':', '\u{ff1a}'])?;
    if label.len() > 60 {
        return None;
    }
    let label = label.to_lowercase();
    let label = label.trim_matches(|c: char| !c.is_alphanumeric());
    REASONS.contains(&label).then(|| reason.trim())
}

/// Whether a text says why a recipient could not be reached.
pub(super) fn tells_why(text: &str) -> bool {
    WHY.are_in(&text.to_lowercase())
}

/// Whether the notice is about mail that may still arrive. The subject outranks the words, and in these what is
/// final outranks what is not.
pub(super) fn delays(subject: &str, words: &str) -> bool {
    if DELAYS.are_in(subject) {
        return true;
    }
    let words = words[..words.floor_char_boundary(2 * OPENING)].to_lowercase();
    !FINAL.are_in(subject) && DELAYS.are_in(&words) && !FINAL.are_in(&words)
}

/// Whether a line tells whom to write to, or repeats a field of the returned mail.
pub(super) fn invites(line: &str) -> bool {
    line.contains('@') && INVITES.are_in(&line.to_lowercase())
}

/// Whether a line tells so of the address beneath it: `For help write to:`.
pub(super) fn invites_below(line: &str) -> bool {
    line.ends_with([':', '\u{ff1a}']) && INVITES.are_in(&line.to_lowercase())
}

/// Whether a text only guesses at a reason, or asks its reader to look for one.
pub(super) fn hedges(text: &str) -> bool {
    HEDGES.are_in(&text.to_lowercase())
}

/// Whether a line only introduces the notice.
pub(super) fn is_boilerplate(line: &str) -> bool {
    BOILERPLATE.are_in(&line.to_lowercase())
}

/// Whether a text is a label that names recipients, and no mere preposition that a broken line may begin with.
pub(super) fn is_name(label: &str) -> bool {
    let label = label.trim().to_lowercase();
    !["to", "an", "para"].contains(&&*label) && LABELS.contains(&&*label)
}

/// Whether a label announces a recipient.
pub(super) fn labels(label: &str) -> bool {
    let label = label.to_lowercase();
    let label = label.trim_matches(|c: char| !c.is_alphanumeric());
    // `The recipient has moved. New address: …`, `Alternative recipient: …` announce somebody else.
    let of_another = || {
        let others = [
            "new",
            "neue",
            "nouve",
            "nuev",
            "nuov",
            "nov",
            "alternativ",
            "instead",
        ];
        label.contains('.')
            || label
                .split_whitespace()
                .any(|word| others.iter().any(|o| word.starts_with(o)))
    };
    let names = ["recipient", "empfänger", "destinat", "получател"];
    LABELS.contains(&label) || (names.iter().any(|name| label.contains(name)) && !of_another())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speaks_of_failure_and_of_delay() {
        for subject in [
            "Undelivered Mail Returned to Sender",
            "Mail konnte nicht zugestellt werden: nicht zugestellt",
            "Недоставленное сообщение",
            "メールを配信できませんでした",
            "系统退信",
        ] {
            assert!(fails(subject), "{subject}");
        }
        for subject in [
            "Weekly digest",
            "Your mailbox is almost full",
            "Cron <root@host> backup",
            "Welcome",
        ] {
            assert!(!fails(subject), "{subject}");
        }
        assert!(delays("warning: message 1abc delayed 24 hours", ""));
        assert!(delays(
            "mail status",
            "Your mail is not yet delivered; it will be retried."
        ));
        assert!(!delays(
            "mail status",
            "Permanent error. It will be retried never."
        ));
    }

    #[test]
    fn reasons_have_labels() {
        assert_eq!(
            reason("Reason: the mailbox is closed"),
            Some("the mailbox is closed")
        );
        assert_eq!(reason("* Grund: kein Platz"), Some("kein Platz"));
        assert_eq!(reason("退信原因：收件人不存在"), Some("收件人不存在"));
        assert_eq!(reason("Subject: reason"), None);
    }

    #[test]
    fn talk_and_round_ups_are_told_by_their_subjects() {
        for subject in [
            "re: mail delivery",
            "daily bounce report",
            "postfix log summaries for mar 2",
        ] {
            assert!(is_talk_or_round_up(subject), "{subject}");
        }
        for subject in [
            "returned mail: see transcript",
            "delivery report",
            "mail delivery failed",
        ] {
            assert!(!is_talk_or_round_up(subject), "{subject}");
        }
    }

    #[test]
    fn every_phrase_is_in_lower_case() {
        for phrases in [
            &FAILS,
            &HINTS,
            &ADDRESSES,
            &HEDGES,
            &WHY,
            &DELAYS,
            &FINAL,
            &INVITES,
            &BOILERPLATE,
            &Phrases::of(LABELS),
            &Phrases::of(REASONS),
            &Phrases::of(ROUND_UPS),
            &Phrases::of(TALKS),
        ] {
            for phrase in phrases.list {
                assert_eq!(*phrase, phrase.to_lowercase());
                assert!(phrases.are_in(phrase), "{phrase}");
            }
            assert!(phrases.automaton.get().is_some_and(Option::is_some));
        }
    }
}
