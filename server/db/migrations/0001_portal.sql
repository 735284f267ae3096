-- Times are milliseconds since 1970; 0 means never. Ids named "hash" are SHA-256 of a secret that only its holder has.

CREATE TABLE sessions (
    id      BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 32), -- hash
    created INTEGER NOT NULL,
    seen    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_by_seen ON sessions (seen);

CREATE TABLE labs (
    id      TEXT    NOT NULL PRIMARY KEY,
    session BLOB    NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    lesson  TEXT    NOT NULL,
    lang    TEXT    NOT NULL,
    code    BLOB    UNIQUE CHECK (length(code) = 32), -- hash of the return code; NULL when it is revoked
    created INTEGER NOT NULL,
    seen    INTEGER NOT NULL,
    deleted INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
CREATE INDEX labs_by_session ON labs (session, lesson);

CREATE TABLE classes (
    id      TEXT    NOT NULL PRIMARY KEY, -- stands in the join link
    name    TEXT    NOT NULL,
    created INTEGER NOT NULL,
    closed  INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX open_classes ON classes (name) WHERE closed = 0;

CREATE TABLE teachers (
    secret  BLOB    NOT NULL PRIMARY KEY CHECK (length(secret) = 32), -- hash of what the teacher's link holds
    class   TEXT    NOT NULL REFERENCES classes (id) ON DELETE CASCADE,
    created INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE members (
    class   TEXT    NOT NULL REFERENCES classes (id) ON DELETE CASCADE,
    number  INTEGER NOT NULL, -- 1, 2, … in the order of joining
    session BLOB    NOT NULL CHECK (length(session) = 32), -- hash
    name    TEXT    NOT NULL,
    joined  INTEGER NOT NULL,
    seen    INTEGER NOT NULL,
    PRIMARY KEY (class, number),
    UNIQUE (class, session),
    UNIQUE (class, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX members_by_session ON members (session);

CREATE TABLE releases (
    class  TEXT    NOT NULL REFERENCES classes (id) ON DELETE CASCADE,
    member INTEGER NOT NULL, -- 0: everybody
    lesson TEXT    NOT NULL,
    task   TEXT    NOT NULL,
    PRIMARY KEY (class, member, lesson, task)
) STRICT, WITHOUT ROWID;
