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
    "delivery report", "failed delivery", "failure notice", "failure delivering", "failed to deliver",
    "failed to send", "mail failure", "mail delivery", "message delivery", "returned mail",
    "mail returned", "returned to sender", "returned message", "message returned", "being returned",
    "bounced", "was rejected", "has been rejected", "permanent error", "permanent failure", "fatal error",
    "transient", "was not sent", "could not be sent", "no such user", "user unknown", "unknown user",
    "unknown recipient", "recipient rejected", "delayed", "delivery delay", "still being retried",
    "has not yet been delivered", "not been delivered", "rejected your message", "message rejected",
    "message refused", "mail rejected",
    // German
    "unzustellbar", "nicht zugestellt", "zustellung fehlgeschlagen", "zustellfehler", "nicht zustellbar",
    "unzustellbarkeit", "konnte nicht übermittelt", "nicht ausgeliefert", "zustellung verzögert",
    "verzögert", "zurückgewiesen", "zustellung ihrer", "konnte nicht versendet", "nicht gesendet werden",
    "rückläufer",
    // French
    "non remis", "n'a pas pu être", "n’a pas pu être", "n'a pu être", "échec de la remise",
    "echec de la remise", "échec de remise", "non distribu", "impossible de remettre",
    "impossible de livrer", "non délivré", "non-remise", "échec d'envoi", "retardé", "remise différée",
    "n'a pas été remis", "a été rejeté",
    // Spanish
    "no se pudo entregar", "no se ha podido entregar", "no se puede entregar", "no entregado",
    "no fue entregado", "no ha sido entregado", "error de entrega", "fallo en la entrega",
    "fallo de entrega", "entrega fallida", "devuelto", "no se ha entregado", "imposible entregar",
    "retrasad", "ha sido rechazado",
    // Italian
    "mancato recapito", "non recapitabile", "non consegnat", "mancata consegna", "impossibile consegnare",
    "impossibile recapitare", "non è stato possibile recapitare", "non è stato possibile consegnare",
    "messaggio respinto", "consegna fallita", "recapito non riuscito", "in ritardo",
    // Portuguese
    "não entregue", "nao entregue", "não foi entregue", "não pôde ser entregue", "não pode ser entregue",
    "falha na entrega", "falha de entrega", "não foi possível entregar", "mensagem devolvida",
    "entrega atrasada", "foi rejeitad",
    // Dutch
    "onbestelbaar", "niet bezorgd", "niet worden bezorgd", "niet afgeleverd", "niet worden afgeleverd",
    "bezorging mislukt", "aflevering mislukt", "geweigerd", "vertraagd",
    // Northern languages
    "kunde inte levereras", "inte leverer", "olevererbar", "kunne ikke leveres", "ikke leveret",
    "ikke levert", "kan ikke leveres", "uleverbar", "ei voitu toimittaa", "toimitus epäonnistui",
    // Polish, Czech, Hungarian, Turkish
    "nie można dostarczyć", "nie dostarczono", "niedostarcz", "nie została dostarczona",
    "nie mogła zostać dostarczona", "nie udało się dostarczyć", "zwrot wiadomości", "opóźnion",
    "nedoručiteln", "nebylo možné doručit", "nelze doručit", "nem kézbesíthető", "kézbesítés sikertelen",
    "teslim edilemedi", "iletilemedi", "gönderilemedi",
    // Russian, Ukrainian
    "недоставлен", "не доставлен", "не было доставлено", "не удалось доставить",
    "не может быть доставлено", "невозможно доставить", "доставка не удалась", "ошибка доставки",
    "не получилось доставить", "возвращен", "задержк", "не доставлено", "неможливо доставити",
    "не вдалося доставити",
    // Japanese, Chinese, Korean
    "配信でき", "配信不能", "配信に失敗", "配送でき", "配送不能", "配達でき", "送信でき", "お届けでき", "届けることができ", "届きませんでした", "送達でき", "不達",
    "エラーメール", "送信エラー", "遅延", "宛先不明", "返送", "退信", "无法投递", "無法投遞", "无法送达", "無法傳遞", "无法传递", "投递失败", "投遞失敗",
    "发送失败", "未能送达", "無法送達", "被退回", "邮件被拒", "延迟", "전송 실패", "배달하지 못", "전달되지 않", "반송",
]);

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
]);

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
    "report this", "mailto:", "wenden sie sich", "kontaktieren", "rückfragen", "contactez",
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
    "получатель", "адрес", "адресат", "кому", "宛先", "送信先", "受信者", "メールアドレス", "收件人", "收件地址", "받는 사람",
    "mottagare", "modtager",
];

#[rustfmt::skip]
static BOILERPLATE: Phrases = Phrases::of(&[
    "automatically generated", "created automatically", "delivery status notification", "do not reply",
    "automatisch erstellt", "automatisch generiert", "générée automatiquement", "généré automatiquement",
    "generado automáticamente", "generato automaticamente", "gerada automaticamente", "自動的に", "自动生成",
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
    FAILS.are_in(&text.to_lowercase())
}

/// As [`fails`], for the opening of the words.
pub(super) fn fails_at_start(words: &str) -> bool {
    fails(&words[..words.floor_char_boundary(OPENING)])
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

/// Whether a line only introduces the notice.
pub(super) fn is_boilerplate(line: &str) -> bool {
    BOILERPLATE.are_in(&line.to_lowercase())
}

/// Whether a label announces a recipient.
pub(super) fn labels(label: &str) -> bool {
    let label = label.to_lowercase();
    let label = label.trim_matches(|c: char| !c.is_alphanumeric());
    LABELS.contains(&label)
        || ["recipient", "empfänger", "destinat", "получател"]
            .iter()
            .any(|k| label.contains(k))
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
    fn every_phrase_is_in_lower_case() {
        for phrases in [
            &FAILS,
            &WHY,
            &DELAYS,
            &FINAL,
            &INVITES,
            &BOILERPLATE,
            &Phrases::of(LABELS),
        ] {
            for phrase in phrases.list {
                assert_eq!(*phrase, phrase.to_lowercase());
                assert!(phrases.are_in(phrase), "{phrase}");
            }
            assert!(phrases.automaton.get().is_some_and(Option::is_some));
        }
    }
}
