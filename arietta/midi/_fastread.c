/* The compiled twin of parse.py: the bytes of a standard MIDI file -> sorted columns.

   Same rules, same order of checks, same error texts and offsets; tests hold the two together on
   every golden file and on thousands of damaged ones. The parser itself touches no Python object,
   so it runs without the interpreter lock. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_TICK ((int64_t)1 << 40)
#define SUSTAIN 64
#define FIRST_MODE 120
#define KEYS (16 * 128)

enum { META_TEXT = 0x01, META_COPYRIGHT = 0x02, META_END_OF_TRACK = 0x2F, META_TEMPO = 0x51 };

/* One event or note. What the fields hold:

              tick    other            seq               a         b         c
   note       onset   offset or OPEN   order of ending   pitch     velocity  channel
   pedal      tick                                       value               channel
   program    tick                                       program             channel
   tempo      tick    microseconds
   extra      tick    start in blob    length
   text       tick    start in file    length

   While a note is pending its seq is the slot of the next one pending on its key, or NONE. */
typedef struct {
    int64_t tick, other, seq;
    int32_t track;
    uint8_t a, b, c;
} Row;

#define OPEN (-1)
#define NONE (-1)

typedef struct {
    Row *rows;
    int64_t count, room;
} Table;

typedef struct {
    uint8_t *bytes;
    int64_t count, room;
} Blob;

/* The chain of notes that wait for their end on one key (channel and pitch) of a track. */
typedef struct {
    int64_t first, last;
    int32_t track;
} Pending;

typedef struct {
    int64_t division;
    Table notes, pedals, programs, tempos, extra, text;
    Blob blob;
    int64_t ended;       /* notes completed so far */
    int64_t unended;     /* note-ons that wait for their note-off */
    int64_t modes;       /* channel mode messages, controllers 120 to 127 */
    int64_t early_ends;  /* ends of track with bytes of their track behind them */
    int64_t too_long_at; /* start of the first track that passes MAX_TICK, or NONE */
    char reason[120];
    int64_t offset;
    int no_memory;
} Parse;

/* Number of data bytes by status byte from 0x80 on; -1 is undefined. System-exclusive and meta
   events carry their own length. */
/* clang-format off */
static const int8_t DATA_BYTES[128] = {
    2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2,
    2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2,
    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
    2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 0, 1, 2, 1, -1, -1, 0, 0, 0, -1, 0, 0, 0, -1, 0, 0,
};
/* clang-format on */

/* Every function that can fail returns 0 on success and -1 with the failure noted in the Parse. */

static int fail(Parse *parse, int64_t offset, const char *format, ...) {
    va_list values;
    va_start(values, format);
    vsnprintf(parse->reason, sizeof parse->reason, format, values);
    va_end(values);
    parse->offset = offset;
    return -1;
}

static int cut_off(Parse *parse, int64_t end) {
    return fail(parse, end, "an event runs past the end of its track");
}

static Row *append(Parse *parse, Table *table, int64_t tick, int32_t track) {
    if (table->count == table->room) {
        int64_t room = table->room ? table->room * 2 : 256;
        Row *rows = realloc(table->rows, (size_t)room * sizeof *rows);
        if (rows == NULL) {
            parse->no_memory = 1;
            return NULL;
        }
        table->rows = rows;
        table->room = room;
    }
    Row *row = &table->rows[table->count++];
    memset(row, 0, sizeof *row);
    row->tick = tick;
    row->track = track;
    return row;
}

/* Keep a message: its one or two leading bytes, then its data. */
static int keep(Parse *parse, int64_t tick, int32_t track, const uint8_t *head, int head_size,
                const uint8_t *data, int64_t size) {
    Blob *blob = &parse->blob;
    if (blob->room - blob->count < head_size + size) {
        int64_t room = blob->room * 2 + head_size + size + 256;
        uint8_t *bytes = realloc(blob->bytes, (size_t)room);
        if (bytes == NULL) {
            parse->no_memory = 1;
            return -1;
        }
        blob->bytes = bytes;
        blob->room = room;
    }
    Row *row = append(parse, &parse->extra, tick, track);
    if (row == NULL) return -1;
    row->other = blob->count;
    row->seq = head_size + size;
    memcpy(blob->bytes + blob->count, head, (size_t)head_size);
    if (size > 0) memcpy(blob->bytes + blob->count + head_size, data, (size_t)size);
    blob->count += row->seq;
    return 0;
}

/* Order of tables: by tick; ties of notes by the order of their ends, other ties as they stand. */

static int after(const Row *x, const Row *y, int is_notes) {
    return x->tick > y->tick || (is_notes && x->tick == y->tick && x->seq > y->seq);
}

/* Insertion sort of rows [first, count): cheap on what is nearly sorted, given up on what is not. */
static void settle(Table *table, int64_t first, int is_notes) {
    Row *rows = table->rows;
    int64_t moves_left = 16 * (table->count - first);
    for (int64_t i = first + 1; i < table->count && moves_left > 0; i++) {
        if (!after(&rows[i - 1], &rows[i], is_notes)) continue;
        Row row = rows[i];
        int64_t j = i;
        do {
            rows[j] = rows[j - 1];
            j--;
            moves_left--;
        } while (j > first && after(&rows[j - 1], &row, is_notes));
        rows[j] = row;
    }
}

static int64_t run_end(const Row *rows, int64_t at, int64_t n, int is_notes) {
    while (++at < n && !after(&rows[at - 1], &rows[at], is_notes));
    return at;
}

/* Stable merge sort that starts from the runs it finds; a track is one run as a rule. */
static int sort(Parse *parse, Table *table, int is_notes) {
    int64_t n = table->count;
    if (n == 0 || run_end(table->rows, 0, n, is_notes) == n) return 0;
    Row *from = table->rows, *to = malloc((size_t)n * sizeof *to);
    if (to == NULL) {
        parse->no_memory = 1;
        return -1;
    }
    while (run_end(from, 0, n, is_notes) < n) {
        for (int64_t at = 0; at < n;) {
            int64_t left = at, middle = run_end(from, at, n, is_notes), right = middle;
            if (middle < n) right = run_end(from, middle, n, is_notes);
            int64_t split = middle;
            while (at < right) {
                if (middle == right ||
                    (left < split && !after(&from[left], &from[middle], is_notes)))
                    to[at++] = from[left++];
                else
                    to[at++] = from[middle++];
            }
        }
        Row *swap = from;
        from = to;
        to = swap;
    }
    table->rows = from;
    table->room = n;
    free(to);
    return 0;
}

static uint32_t big_endian(const uint8_t *bytes) {
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

static uint32_t little_endian(const uint8_t *bytes) {
    return (uint32_t)bytes[3] << 24 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[1] << 8 | bytes[0];
}

/* A note off at `tick`: every pending note of the key that started at another tick ends here. Notes
   that start at this very tick go on pending beside such, and are forgotten where there is none. */
static void end_notes(Parse *parse, Pending *key, int64_t tick) {
    Row *notes = parse->notes.rows;
    int64_t at = key->first, ended = parse->ended;
    /* Ticks never fall, so the notes that start at this tick are the tail of the chain. */
    while (at != NONE && notes[at].tick != tick) {
        int64_t next = notes[at].seq;
        notes[at].other = tick;
        notes[at].seq = parse->ended++;
        at = next;
    }
    parse->unended -= parse->ended - ended;
    if (parse->ended > ended) {
        key->first = at;
        return;
    }
    key->first = NONE;
    for (; at != NONE; at = notes[at].seq) parse->unended--;
}

/* The events of one track, which lie in data[start..end). */
static int parse_track(Parse *parse, const uint8_t *data, int64_t start, int64_t end, int32_t track,
                       Pending *pending) {
    int64_t at = start, tick = 0, first_note = parse->notes.count;
    int running = -1;
    while (at < end) {
        int64_t delta = 0;
        for (;;) {
            uint8_t byte = data[at++];
            delta = delta << 7 | (byte & 0x7F);
            if (delta > MAX_TICK) delta = MAX_TICK + 1;
            if (at >= end) return cut_off(parse, end);
            if (byte < 0x80) break;
        }
        tick += delta;
        if (tick > MAX_TICK) tick = MAX_TICK + 1;
        int64_t event = at;
        int status = data[at];
        if (status < 0x80) {
            if (running < 0) return fail(parse, at, "a data byte without a status byte before it");
            status = running;
            if (status >= 0xF0 && DATA_BYTES[status - 128] < 1)
                return fail(parse, at, "running status after a system message");
        } else {
            at++;
            if (status != 0xFF) running = status;
        }
        if (status != 0xF0 && status != 0xF7 && status != 0xFF) {
            int size = DATA_BYTES[status - 128];
            if (size < 0)
                return fail(parse, event, "undefined status byte 0x%02X", (unsigned)status);
            if (size > end - at) return cut_off(parse, end);
            for (int i = 0; i < size; i++)
                if (data[at + i] > 127)
                    return fail(parse, at + i, "data byte 0x%02X is above 127",
                                (unsigned)data[at + i]);
            const uint8_t *bytes = data + at;
            at += size;
            int kind = status & 0xF0;
            if (kind <= 0x90) {
                Pending *key = &pending[(status & 0x0F) << 7 | bytes[0]];
                if (key->track != track) { /* left over from an earlier track */
                    key->track = track;
                    key->first = NONE;
                }
                if (kind == 0x90 && bytes[1] > 0) {
                    int64_t slot = parse->notes.count;
                    Row *note = append(parse, &parse->notes, tick, track);
                    if (note == NULL) return -1;
                    note->other = OPEN;
                    note->seq = NONE;
                    note->a = bytes[0];
                    note->b = bytes[1];
                    note->c = status & 0x0F;
                    parse->unended++;
                    if (key->first == NONE)
                        key->first = slot;
                    else
                        parse->notes.rows[key->last].seq = slot;
                    key->last = slot;
                } else if (key->first != NONE) {
                    end_notes(parse, key, tick);
                }
            } else if ((kind == 0xB0 && bytes[0] == SUSTAIN) || kind == 0xC0) {
                Row *row =
                    append(parse, kind == 0xB0 ? &parse->pedals : &parse->programs, tick, track);
                if (row == NULL) return -1;
                row->a = bytes[size - 1];
                row->c = status & 0x0F;
            } else if (status < 0xF0) {
                parse->modes += kind == 0xB0 && bytes[0] >= FIRST_MODE;
                uint8_t head = (uint8_t)status;
                if (keep(parse, tick, track, &head, 1, bytes, size)) return -1;
            }
            continue;
        }
        uint8_t head[2] = {(uint8_t)status, 0};
        if (status == 0xFF) {
            if (at < end) head[1] = data[at];
            at++;
        }
        int64_t size = 0;
        for (;;) {
            if (at >= end) return cut_off(parse, end);
            uint8_t byte = data[at++];
            size = size << 7 | (byte & 0x7F);
            if (size > MAX_TICK) size = MAX_TICK;
            if (byte < 0x80) break;
        }
        if (size > end - at) return cut_off(parse, end);
        const uint8_t *bytes = data + at;
        int64_t content = at;
        at += size;
        if (status == 0xFF && head[1] == META_END_OF_TRACK) {
            parse->early_ends += at < end;
            continue;
        }
        if (status == 0xFF && head[1] == META_TEMPO) {
            if (size < 3) return fail(parse, event, "a tempo of fewer than three bytes");
            Row *row = append(parse, &parse->tempos, tick, track);
            if (row == NULL) return -1;
            row->other = (int64_t)bytes[0] << 16 | (int64_t)bytes[1] << 8 | bytes[2];
            continue;
        }
        if (keep(parse, tick, track, head, status == 0xFF ? 2 : 1, bytes, size)) return -1;
        if (status == 0xFF && (head[1] == META_TEXT || head[1] == META_COPYRIGHT)) {
            Row *row = append(parse, &parse->text, tick, track);
            if (row == NULL) return -1;
            row->other = content;
            row->seq = size;
        }
    }
    if (tick > MAX_TICK && parse->too_long_at == NONE) parse->too_long_at = start;
    /* Notes that never ended are dropped. */
    Row *notes = parse->notes.rows;
    int64_t kept = first_note;
    for (int64_t i = first_note; i < parse->notes.count; i++)
        if (notes[i].other != OPEN) notes[kept++] = notes[i];
    parse->notes.count = kept;
    settle(&parse->notes, first_note, 1);
    return 0;
}

static int parse_file(Parse *parse, const uint8_t *data, int64_t n) {
    static const int64_t HEADER = 14;
    int64_t at = 0;
    if (n == 0) return fail(parse, 0, "the file is empty");
    if (n >= (int64_t)1 << 31) return fail(parse, 0, "the file is larger than 2 GiB");
    if (n >= 12 && memcmp(data, "RIFF", 4) == 0 && memcmp(data + 8, "RMID", 4) == 0) {
        for (at = 12;;) {
            if (at + 8 > n) return fail(parse, n, "a RIFF container without a MIDI data chunk");
            int64_t size = little_endian(data + at + 4);
            if (memcmp(data + at, "data", 4) == 0) {
                at += 8;
                if (size < n - at) n = at + size;
                break;
            }
            at += 8 + size + (size & 1);
        }
    }
    if (n - at < 4 || memcmp(data + at, "MThd", 4) != 0)
        return fail(parse, at, "not a MIDI file: it does not start with MThd");
    if (n - at < HEADER) return fail(parse, n, "the header is cut off");
    int64_t header_size = big_endian(data + at + 4);
    if (header_size < 6) return fail(parse, at + 4, "the header is shorter than six bytes");
    int tracks = data[at + 10] << 8 | data[at + 11];
    parse->division = (int16_t)(data[at + 12] << 8 | data[at + 13]);
    if (parse->division == 0 || (parse->division < 0 && data[at + 13] == 0))
        return fail(parse, at + 12, "the header gives no ticks per quarter or frame");
    at += 8 + header_size;

    /* All chunks are looked at before any event, as in the twin. */
    int found = 0;
    for (int64_t chunk = at; found < tracks;) {
        if (n - chunk < 8)
            return fail(parse, n, "the header promises %d tracks, the file holds %d", tracks,
                        found);
        int64_t size = big_endian(data + chunk + 4);
        if (size > n - chunk - 8)
            return fail(parse, chunk, "a chunk claims %lld bytes, %lld are left", (long long)size,
                        (long long)(n - chunk - 8));
        found += memcmp(data + chunk, "MTrk", 4) == 0;
        chunk += 8 + size;
    }
    Pending pending[KEYS];
    for (int key = 0; key < KEYS; key++) pending[key].track = NONE;
    for (int32_t track = 0; track < tracks;) {
        int64_t size = big_endian(data + at + 4);
        if (memcmp(data + at, "MTrk", 4) == 0) {
            if (parse_track(parse, data, at + 8, at + 8 + size, track, pending)) return -1;
            track++;
        }
        at += 8 + size;
    }
    if (parse->too_long_at != NONE)
        return fail(parse, parse->too_long_at, "a track lasts longer than 2**40 ticks");
    return sort(parse, &parse->notes, 1) || sort(parse, &parse->pedals, 0) ||
                   sort(parse, &parse->programs, 0) || sort(parse, &parse->tempos, 0) ||
                   sort(parse, &parse->extra, 0) || sort(parse, &parse->text, 0)
               ? -1
               : 0;
}

/* Columns go out as one bytearray a table, widest column first; reader.py knows the layout. */

static uint8_t *new_columns(PyObject **columns, int64_t size) {
    *columns = PyByteArray_FromStringAndSize(NULL, (Py_ssize_t)size);
    return *columns == NULL ? NULL : (uint8_t *)PyByteArray_AS_STRING(*columns);
}

static PyObject *note_columns(const Table *table) {
    int64_t n = table->count;
    PyObject *columns;
    uint8_t *bytes = new_columns(&columns, n * 23);
    if (bytes == NULL) return NULL;
    int64_t *onset = (int64_t *)bytes, *offset = onset + n;
    int32_t *track = (int32_t *)(offset + n);
    uint8_t *pitch = (uint8_t *)(track + n), *velocity = pitch + n, *channel = velocity + n;
    for (int64_t i = 0; i < n; i++) {
        const Row *row = &table->rows[i];
        onset[i] = row->tick;
        offset[i] = row->other;
        track[i] = row->track;
        pitch[i] = row->a;
        velocity[i] = row->b;
        channel[i] = row->c;
    }
    return columns;
}

/* Pedals and programs: tick, track, value, channel. */
static PyObject *value_columns(const Table *table) {
    int64_t n = table->count;
    PyObject *columns;
    uint8_t *bytes = new_columns(&columns, n * 14);
    if (bytes == NULL) return NULL;
    int64_t *tick = (int64_t *)bytes;
    int32_t *track = (int32_t *)(tick + n);
    uint8_t *value = (uint8_t *)(track + n), *channel = value + n;
    for (int64_t i = 0; i < n; i++) {
        const Row *row = &table->rows[i];
        tick[i] = row->tick;
        track[i] = row->track;
        value[i] = row->a;
        channel[i] = row->c;
    }
    return columns;
}

static PyObject *tempo_columns(const Table *table) {
    int64_t n = table->count;
    PyObject *columns;
    uint8_t *bytes = new_columns(&columns, n * 16);
    if (bytes == NULL) return NULL;
    int64_t *tick = (int64_t *)bytes, *microseconds = tick + n;
    for (int64_t i = 0; i < n; i++) {
        tick[i] = table->rows[i].tick;
        microseconds[i] = table->rows[i].other;
    }
    return columns;
}

/* Tick, n + 1 bounds of the messages in the blob, track. */
static PyObject *extra_columns(const Table *table) {
    int64_t n = table->count;
    PyObject *columns;
    uint8_t *bytes = new_columns(&columns, n * 20 + 8);
    if (bytes == NULL) return NULL;
    int64_t *tick = (int64_t *)bytes, *bounds = tick + n;
    int32_t *track = (int32_t *)(bounds + n + 1);
    bounds[0] = 0;
    for (int64_t i = 0; i < n; i++) {
        const Row *row = &table->rows[i];
        tick[i] = row->tick;
        bounds[i + 1] = bounds[i] + row->seq;
        track[i] = row->track;
    }
    return columns;
}

static PyObject *extra_blob(const Table *table, const Blob *blob) {
    PyObject *packed = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)blob->count);
    if (packed == NULL) return NULL;
    char *to = PyBytes_AS_STRING(packed);
    for (int64_t i = 0; i < table->count; i++) {
        const Row *row = &table->rows[i];
        memcpy(to, blob->bytes + row->other, (size_t)row->seq);
        to += row->seq;
    }
    return packed;
}

static PyObject *text_items(const Table *table, const uint8_t *data) {
    PyObject *items = PyTuple_New((Py_ssize_t)table->count);
    if (items == NULL) return NULL;
    for (int64_t i = 0; i < table->count; i++) {
        const Row *row = &table->rows[i];
        const char *bytes = (const char *)data + row->other;
        PyObject *text = PyUnicode_DecodeUTF8(bytes, (Py_ssize_t)row->seq, NULL);
        if (text == NULL && PyErr_ExceptionMatches(PyExc_UnicodeDecodeError)) {
            PyErr_Clear();
            text = PyUnicode_DecodeLatin1(bytes, (Py_ssize_t)row->seq, NULL);
        }
        PyObject *item = text == NULL ? NULL : Py_BuildValue("(LN)", (long long)row->tick, text);
        if (item == NULL) {
            Py_DECREF(items);
            return NULL;
        }
        PyTuple_SET_ITEM(items, (Py_ssize_t)i, item);
    }
    return items;
}

static PyObject *result(const Parse *parse, const uint8_t *data) {
    if (parse->no_memory) return PyErr_NoMemory();
    if (parse->reason[0] != 0) {
        PyObject *values = Py_BuildValue("(sL)", parse->reason, (long long)parse->offset);
        if (values != NULL) {
            PyErr_SetObject(PyExc_ValueError, values);
            Py_DECREF(values);
        }
        return NULL;
    }
    PyObject *items[11] = {
        PyLong_FromLongLong(parse->division),
        tempo_columns(&parse->tempos),
        note_columns(&parse->notes),
        value_columns(&parse->pedals),
        value_columns(&parse->programs),
        extra_columns(&parse->extra),
        extra_blob(&parse->extra, &parse->blob),
        text_items(&parse->text, data),
        PyLong_FromLongLong(parse->unended),
        PyLong_FromLongLong(parse->modes),
        PyLong_FromLongLong(parse->early_ends),
    };
    PyObject *all = PyTuple_New(11);
    for (int i = 0; i < 11; i++) {
        if (items[i] == NULL) Py_CLEAR(all);
        if (all != NULL)
            PyTuple_SET_ITEM(all, i, items[i]);
        else
            Py_XDECREF(items[i]);
    }
    return all;
}

static PyObject *fastread_parse(PyObject *module, PyObject *source) {
    (void)module;
    Py_buffer view;
    if (PyObject_GetBuffer(source, &view, PyBUF_SIMPLE) < 0) return NULL;
    Parse parse;
    memset(&parse, 0, sizeof parse);
    parse.too_long_at = NONE;
    Py_BEGIN_ALLOW_THREADS parse_file(&parse, view.buf, view.len);
    Py_END_ALLOW_THREADS PyObject *all = result(&parse, view.buf);
    PyBuffer_Release(&view);
    Table *tables[] = {&parse.notes,  &parse.pedals, &parse.programs,
                       &parse.tempos, &parse.extra,  &parse.text};
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) free(tables[i]->rows);
    free(parse.blob.bytes);
    return all;
}

static PyMethodDef methods[] = {
    {"parse", fastread_parse, METH_O,
     "parse(data) -> (division, tempos, notes, pedals, programs, extra, messages, text, "
     "unended, modes, early_ends)\n\n"
     "Raises ValueError(reason, byte_offset) for a malformed file."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {
#ifdef Py_GIL_DISABLED
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, .m_name = "_fastread", .m_doc = "Compiled twin of arietta.midi.parse.",
    .m_methods = methods,  .m_slots = slots,
};

PyMODINIT_FUNC PyInit__fastread(void) { return PyModuleDef_Init(&definition); }
