-- Each checkpoint of the engine leaves a mark in the file, in one table and then in the other, which lie on two pages.
-- By the marks the engine tells its own checkpoint from a copy that another program wrote over the file meanwhile.
CREATE TABLE checkpoint_marks_a (mark TEXT NOT NULL) STRICT;
CREATE TABLE checkpoint_marks_b (mark TEXT NOT NULL) STRICT;

INSERT INTO checkpoint_marks_a VALUES ('0000000000000000-0000000000000000');
INSERT INTO checkpoint_marks_b VALUES ('0000000000000000-0000000000000000');
