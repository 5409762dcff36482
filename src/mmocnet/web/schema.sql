-- The room. Events are what readers did: they are added and never changed.
CREATE TABLE IF NOT EXISTS studies (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    source TEXT NOT NULL,
    origin TEXT NOT NULL,
    path BLOB UNIQUE,
    added TEXT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT,
    needs TEXT,
    spacing_mm REAL,
    wanted TEXT,
    series TEXT,
    size TEXT,
    settings TEXT,
    imported INTEGER NOT NULL DEFAULT 0,
    phase BLOB,
    mask BLOB,
    result TEXT,
    -- Of the files that were imported.
    stamp TEXT
);
CREATE TABLE IF NOT EXISTS results (
    id TEXT NOT NULL,
    study TEXT NOT NULL,
    made TEXT NOT NULL,
    settings TEXT NOT NULL,
    candidates INTEGER NOT NULL,
    lesions INTEGER NOT NULL,
    PRIMARY KEY (study, id)
);
CREATE TABLE IF NOT EXISTS readers (id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS events (
    study TEXT NOT NULL,
    result TEXT NOT NULL,
    reader TEXT NOT NULL,
    number INTEGER NOT NULL,
    time TEXT NOT NULL,
    kind TEXT NOT NULL,
    payload TEXT NOT NULL,
    -- The page's own, so that what is sent twice is taken once.
    id TEXT,
    PRIMARY KEY (study, result, reader, number)
);
CREATE UNIQUE INDEX IF NOT EXISTS events_by_id ON events (study, result, reader, id);
CREATE TRIGGER IF NOT EXISTS events_stay BEFORE UPDATE ON events
BEGIN SELECT RAISE(ABORT, 'events are never changed'); END;
-- REPLACE would delete without asking.
CREATE TRIGGER IF NOT EXISTS events_once BEFORE INSERT ON events
WHEN EXISTS (SELECT 1 FROM events WHERE study = NEW.study AND result = NEW.result
    AND reader = NEW.reader AND (number = NEW.number OR id = NEW.id))
BEGIN SELECT RAISE(ABORT, 'events are never replaced'); END;
-- A study that its owner deletes goes first, and its events after it.
CREATE TRIGGER IF NOT EXISTS events_last BEFORE DELETE ON events
WHEN EXISTS (SELECT 1 FROM studies WHERE id = OLD.study)
BEGIN SELECT RAISE(ABORT, 'events are never deleted'); END;
CREATE TABLE IF NOT EXISTS completed (
    study TEXT NOT NULL,
    result TEXT NOT NULL,
    reader TEXT NOT NULL,
    PRIMARY KEY (study, result, reader)
);
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY,
    study TEXT,
    kind TEXT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT,
    settings TEXT NOT NULL,
    created REAL NOT NULL,
    owner TEXT,
    lease REAL NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0,
    started REAL,
    done INTEGER,
    total INTEGER,
    name TEXT,
    bytes INTEGER
);
CREATE INDEX IF NOT EXISTS jobs_by_state ON jobs (kind, state, created);
CREATE INDEX IF NOT EXISTS jobs_by_study ON jobs (study, state);
