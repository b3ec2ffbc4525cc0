-- What another client of the protocol than Postfix sees: miltertest(8), built on Sendmail's definitions.
-- Given: where (inet:PORT@HOST), dead (a suppressed address), alive (another), signs (1 where mail is signed).

local sign = signs == "1"

local function must(condition, what)
    if not condition then
        mt.echo("failed: " .. what)
        error(what)
    end
end

local function said(conn, expected, what)
    local found = mt.getreply(conn)
    must(found == expected, what .. ": expected " .. string.char(expected) .. ", found " .. string.char(found))
end

-- A step that was agreed to be spared must not be taken.
local function wanted(conn, spared)
    return not mt.test_option(conn, spared)
end

local function begin(conn, queue_id, sender)
    mt.macro(conn, SMFIC_MAIL, "i", queue_id, "{mail_addr}", sender)
    if wanted(conn, SMFIP_NOMAIL) then
        must(mt.mailfrom(conn, "<" .. sender .. ">") == nil, "MAIL")
    end
end

local function rcpt(conn, queue_id, sender, recipient)
    mt.macro(conn, SMFIC_RCPT, "i", queue_id, "{mail_addr}", sender)
    must(mt.rcptto(conn, recipient) == nil, "RCPT")
end

local function body(conn)
    if wanted(conn, SMFIP_NOHDRS) then
        must(mt.header(conn, "From", "<app@app.test>") == nil, "a field")
        must(mt.header(conn, "Message-ID", "<1@app.test>") == nil, "a field")
    end
    if wanted(conn, SMFIP_NOEOH) then
        must(mt.eoh(conn) == nil, "the end of the header")
    end
    if wanted(conn, SMFIP_NOBODY) then
        must(mt.bodystring(conn, "text\r\n") == nil, "the body")
        -- A filter that wants no more of it is sent no more.
        if mt.getreply(conn) ~= SMFIR_SKIP then
            must(mt.bodyrandom(conn, 200000) == nil, "more of the body")
        end
    end
    must(mt.eom(conn) == nil, "the end of the message")
end

local conn = mt.connect(where, 100, 0.1)
must(conn ~= nil, "no connection")
must(mt.negotiate(conn, nil, nil, nil) == nil, "no agreement")
must(mt.test_option(conn, SMFIP_NOUNKNOWN), "unknown commands are spared")
must(mt.test_action(conn, SMFIF_DELRCPT), "recipients may be removed")
must(mt.test_action(conn, SMFIF_CHGFROM) == sign, "senders are changed where mail is signed")
must(mt.test_option(conn, SMFIP_NOBODY) == not sign, "without signing and reading, no body is wanted")
if wanted(conn, SMFIP_NOCONNECT) then
    must(mt.conninfo(conn, "localhost", "127.0.0.1") == nil, "the connection")
end
if wanted(conn, SMFIP_NOHELO) then
    must(mt.helo(conn, "client.test") == nil, "HELO")
end

-- Over SMTP a dead recipient is refused, and the others are not.
begin(conn, "Q1", "app@app.test")
rcpt(conn, "Q1", "app@app.test", "<" .. alive .. ">")
said(conn, SMFIR_CONTINUE, "a live recipient")
rcpt(conn, "Q1", "app@app.test", "<" .. dead .. ">")
said(conn, SMFIR_REPLYCODE, "a dead recipient")
body(conn)
must(not mt.eom_check(conn, MT_RCPTDELETE, "<" .. dead .. ">"), "what was refused is not removed as well")
local ended = mt.getreply(conn)
must(ended == SMFIR_CONTINUE or ended == SMFIR_ACCEPT, "the message goes on")

-- A message that is given up leaves nothing behind.
begin(conn, "Q2", "app@app.test")
rcpt(conn, "Q2", "app@app.test", "<" .. alive .. ">")
must(mt.abort(conn) == nil, "giving up")

-- From sendmail(1) nobody can be refused: the dead are removed at the end.
begin(conn, "Q3", "app@app.test")
rcpt(conn, "Q3", "app@app.test", alive)
said(conn, SMFIR_CONTINUE, "a live recipient of sendmail(1)")
rcpt(conn, "Q3", "app@app.test", dead)
said(conn, SMFIR_CONTINUE, "a dead recipient of sendmail(1)")
body(conn)
must(mt.eom_check(conn, MT_RCPTDELETE, dead), "the dead one is removed")
must(not mt.eom_check(conn, MT_RCPTDELETE, alive), "the live one stays")
mt.disconnect(conn)

-- A client that goes without a word is no failure for the next.
local rude = mt.connect(where, 10, 0.1)
must(mt.negotiate(rude, nil, nil, nil) == nil, "no agreement")
mt.disconnect(rude, false)
local next = mt.connect(where, 10, 0.1)
must(mt.negotiate(next, nil, nil, nil) == nil, "no agreement with the next")
mt.disconnect(next)
