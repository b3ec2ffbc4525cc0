//! Automatic answers that say more than that somebody is away: the mailbox is closed, its owner has left.
//!
//! Anybody can write so, and people do not write to be parsed: it is a hint for the operator, and never
//! evidence that acts.

/// What such answers say, in lower case.
#[rustfmt::skip]
const WORDS: &[&str] = &[
    // English
    "no longer with ", "no longer employed", "no longer work for", "no longer work at",
    "no longer works for", "no longer works at", "no longer works here", "no longer working for",
    "no longer working at", "no longer part of", "no longer a part of", "no longer at this company",
    "no longer associated with", "has left the company", "have left the company", "has left the organi",
    "have left the organi", "has left our company", "has left the firm", "left the company", "has left us",
    "has retired", "have retired", "no longer in use", "no longer used", "no longer active",
    "no longer valid", "no longer exists", "no longer monitored", "no longer maintained",
    "no longer checked", "not in use anymore", "mailbox is closed", "mailbox has been closed",
    "account is closed", "account has been closed", "account has been deactivated",
    "address has been deactivated", "mailbox has been deactivated", "address is inactive",
    "address has been discontinued", "address is discontinued", "has been decommissioned",
    "has passed away",
    // German
    "nicht mehr im unternehmen", "nicht mehr bei uns", "nicht mehr in unserem", "nicht mehr für unser",
    "nicht mehr für die", "nicht mehr tätig", "nicht mehr beschäftigt", "ausgeschieden",
    "in den ruhestand", "nicht mehr aktiv", "nicht mehr gültig", "nicht mehr verwendet",
    "nicht mehr genutzt", "nicht mehr in gebrauch", "nicht mehr in betrieb", "existiert nicht mehr",
    "postfach ist geschlossen", "postfach wurde geschlossen", "postfach wurde deaktiviert",
    "adresse wurde deaktiviert", "adresse ist deaktiviert", "nicht mehr erreichbar unter",
    // French
    "ne travaille plus", "ne fait plus partie", "ne fais plus partie", "a quitté l", "a quitté la",
    "a quitté not", "ai quitté l", "n'est plus valide", "n’est plus valide", "n'est plus utilisé",
    "n’est plus utilisé", "n'est plus active", "n’est plus active", "n'est plus en service",
    "n’est plus en service", "n'existe plus", "n’existe plus", "adresse a été désactivée",
    "boîte aux lettres est fermée",
    // Spanish, Italian, Portuguese
    "ya no trabaja", "ya no trabajo", "ya no forma parte", "ya no está en uso", "ya no esta en uso",
    "ya no existe", "ya no es válid", "ya no se encuentra activ", "ha dejado la empresa",
    "cuenta ha sido cerrada", "cuenta está cerrada", "ha sido dada de baja", "non lavora più",
    "non fa più parte", "non è più attiv", "non è più in uso", "non è più utilizzat", "non è più valid",
    "ha lasciato l'azienda", "ha lasciato la società", "casella è stata chiusa", "indirizzo dismesso",
    "não trabalha mais", "já não trabalha", "não faz mais parte", "não está mais ativ",
    "não está mais em uso", "foi desativad", "deixou a empresa", "já não está em uso",
    // Dutch and northern languages
    "niet meer werkzaam", "niet langer werkzaam", "werkt niet meer", "werkt niet langer",
    "niet meer in gebruik", "niet langer in gebruik", "is niet meer actief", "uit dienst",
    "arbetar inte längre", "har slutat på", "används inte längre", "är inte längre aktiv",
    "arbejder ikke længere", "er fratrådt", "bruges ikke længere", "jobber ikke lenger", "har sluttet",
    "brukes ikke lenger", "ei ole enää käytössä", "ei työskentele enää",
    // Slavic languages, Hungarian, Turkish
    "już nie pracuje", "nie pracuje już", "nie jest już pracownikiem", "nie jest już używan",
    "adres jest nieaktywny", "konto jest nieaktywne", "skrzynka jest nieaktywna", "již nepracuje",
    "už nepracuje", "se již nepoužívá", "больше не работает", "больше не работаю",
    "не работает в компании", "уже не работает", "уволил", "ящик закрыт", "ящик больше не",
    "адрес больше не", "адрес не действует", "більше не працює", "már nem dolgozik", "megszűnt",
    "artık çalışmamaktadır", "kullanılmamaktadır",
    // Eastern languages
    "退職", "使用しておりません", "使用されておりません", "使われておりません", "ご利用いただけなくなりました", "アドレスは廃止", "廃止いたしました", "閉鎖いたしました",
    "已离职", "已離職", "不再使用", "已停用", "邮箱已关闭", "퇴사", "더 이상 사용하지",
];

/// Whether an answer says that its mailbox is closed, or that nobody reads it any more.
pub(super) fn says(text: &str) -> bool {
    let text = text.to_lowercase();
    WORDS.iter().any(|words| text.contains(words))
}

#[cfg(test)]
mod tests {
    use super::says;

    #[test]
    fn leaving_for_good_is_told_from_being_away() {
        for text in [
            "Ann Smith is no longer with Example Ltd. Please write to sales@example.com.",
            "Diese Adresse ist nicht mehr gültig.",
            "Herr Maier ist zum 31.3. aus dem Unternehmen ausgeschieden.",
            "Cette adresse n'est plus utilisée.",
            "Ya no trabajo en esta empresa.",
            "Este endereço não está mais em uso.",
            "Сотрудник больше не работает в компании.",
            "このたび一身上の都合により退職いたしました。",
            "该员工已离职,请联系其他同事。",
        ] {
            assert!(says(text), "{text}");
        }
        for text in [
            "I am away until Monday and no longer reachable by phone.",
            "I no longer work on Fridays.",
            "Ich bin bis 5. Mai nicht im Büro und kann Ihre Mail nicht lesen.",
            "Je suis absente jusqu'au 12 août.",
            "本日は退社いたしました。明日返信いたします。",
            "我正在休假,回来后会尽快回复。",
            "Your ticket was closed.",
        ] {
            assert!(!says(text), "{text}");
        }
    }
}
