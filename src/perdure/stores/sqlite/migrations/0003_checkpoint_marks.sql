-- Each checkpoint of the engine writes a mark into the file, alternating between two tables on two pages. The marks
-- distinguish the engine's own checkpoint from a copy that another program wrote over the file meanwhile.
CREATE TABLE checkpoint_marks_a (mark TEXT NOT NULL) STRICT;
CREATE TABLE checkpoint_marks_b (mark TEXT NOT NULL) STRICT;

INSERT INTO checkpoint_marks_a VALUES ('0000000000000000-0000000000000000');
INSERT INTO checkpoint_marks_b VALUES ('0000000000000000-0000000000000000');
