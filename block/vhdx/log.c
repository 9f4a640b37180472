/* SPDX-License-Identifier: MIT */
/*
 * VHDX headers and log ([MS-VHDX] 2.2.2 and 2.3). The log is a ring of 4 KiB
 * sectors. An entry has a header, descriptors (32 bytes each; the first sector
 * has room for 126), and a data sector for each data descriptor, whose first 8
 * and last 4 bytes are kept in the descriptor.
 *
 * We write one entry for each flush, and the next one only when the pages of
 * the one before are where they belong: so an entry's tail is itself.
 */
#include <errno.h>

#include "block/vhdx/vhdx.h"

/* Fields of an entry's header, of descriptors and of data sectors. */
enum {
    E_CHECKSUM = 4, E_LENGTH = 8, E_TAIL = 12, E_SEQUENCE = 16, E_COUNT = 24, E_GUID = 32, E_FLUSHED = 48, E_LAST = 56,
    E_HEADER = 64, DESC = 32, DESCS_FIRST = (VHDX_LOG_SECTOR - E_HEADER) / DESC,
    D_TRAILING = 4, D_LEADING = 8, D_OFFSET = 16, D_SEQUENCE = 24,
    S_HIGH = 4, S_DATA = 8, S_LOW = 4092,
};

/* ---- checksums */

/* Castagnoli's polynomial, reflected, four bits at a time. */
static uint32_t crc_by_table(uint32_t crc, const uint8_t *p, size_t len)
{
    static const uint32_t nibble[16] = {
        0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
        0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9, 0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
    };

    while (len--) {
        crc ^= *p++;
        crc = crc >> 4 ^ nibble[crc & 15];
        crc = crc >> 4 ^ nibble[crc & 15];
    }
    return crc;
}

#ifdef __x86_64__
static bool host_has_crc(void)
{
    return __builtin_cpu_supports("sse4.2");
}

__attribute__((target("sse4.2"))) static uint32_t crc_by_host(uint32_t crc, const uint8_t *p, size_t len)
{
    for (; len >= 8; p += 8, len -= 8)
        crc = __builtin_ia32_crc32di(crc, ld_le64(p));
    while (len--)
        crc = __builtin_ia32_crc32qi(crc, *p++);
    return crc;
}
#else
static bool host_has_crc(void)
{
    return false;
}

static uint32_t crc_by_host(uint32_t crc, const uint8_t *p, size_t len)
{
    return crc_by_table(crc, p, len);
}
#endif

/* Goes on from what it returned for the bytes before; 0 for the first ones. */
uint32_t crc32c(uint32_t crc, const void *p, size_t len)
{
    return ~(host_has_crc() ? crc_by_host : crc_by_table)(~crc, p, len);
}

uint32_t vhdx_checksum(const uint8_t *p, size_t len, size_t at)
{
    uint32_t crc = crc32c(0, p, at);

    crc = crc32c(crc, "\0\0\0", 4);
    return crc32c(crc, p + at + 4, len - at - 4);
}

void vhdx_new_guid(uint8_t *out)
{
    random_bytes(out, VHDX_GUID);
    out[7] = (out[7] & 0x0f) | 0x40;
    out[8] = (out[8] & 0x3f) | 0x80;
}

/* ---- headers */

static uint64_t header_offset(unsigned which)
{
    return which ? VHDX_HEADER_2 : VHDX_HEADER_1;
}

static bool good_header(const uint8_t *h)
{
    return !memcmp(h, "head", 4) && ld_le16(h + VH_VERSION) == 1 &&
           vhdx_checksum(h, VHDX_HEADER, VH_CHECKSUM) == ld_le32(h + VH_CHECKSUM);
}

Err *vhdx_read_headers(Vhdx *s)
{
    g_autofree uint8_t *h = g_malloc(2 * VHDX_HEADER);
    bool good[2];
    int ret = 0;

    for (unsigned i = 0; i < 2 && !ret; i++) {
        ret = child_pread(s->n.file, header_offset(i), h + i * VHDX_HEADER, VHDX_HEADER);
        good[i] = !ret && good_header(h + i * VHDX_HEADER);
    }
    if (ret < 0)
        return err_errno(-ret, "cannot read the VHDX headers");
    if (!good[0] && !good[1])
        return err(ERR_INVALID, "No valid VHDX header found");
    s->header_at = !good[0] || (good[1] && ld_le64(h + VHDX_HEADER + VH_SEQUENCE) > ld_le64(h + VH_SEQUENCE));
    if (good[0] && good[1] && ld_le64(h + VHDX_HEADER + VH_SEQUENCE) == ld_le64(h + VH_SEQUENCE) &&
        memcmp(h, h + VHDX_HEADER, VHDX_HEADER))
        return err(ERR_INVALID, "No valid VHDX header found: two of one age that differ");
    memcpy(s->header, h + s->header_at * VHDX_HEADER, VHDX_HEADER);
    s->log_off = ld_le64(s->header + VH_LOG_OFFSET);
    s->log_len = ld_le32(s->header + VH_LOG_LENGTH);
    if (s->log_off % VHDX_MIB || s->log_len % VHDX_MIB || (s->log_len && s->log_off < VHDX_MIB))
        return err(ERR_INVALID, "the VHDX log (offset %" PRIu64 ", %" PRIu64 " bytes) is not in whole MiB",
                   s->log_off, s->log_len);
    if (s->log_len && (s->log_off > child_size(s->n.file) || s->log_len > child_size(s->n.file) - s->log_off))
        return err(ERR_INVALID, "the VHDX log (offset %" PRIu64 ", %" PRIu64 " bytes) is not within the file",
                   s->log_off, s->log_len);
    if (ld_le16(s->header + VH_LOG_VERSION) != 0)
        return err(ERR_UNSUPPORTED, "the VHDX log has version %u, 0 is supported", ld_le16(s->header + VH_LOG_VERSION));
    return NULL;
}

int vhdx_write_header(Vhdx *s, const uint8_t *log_guid, bool new_data_guid)
{
    uint8_t h[VHDX_HEADER];
    int ret;

    memcpy(h, s->header, sizeof(h));
    st_le64(h + VH_SEQUENCE, ld_le64(h + VH_SEQUENCE) + 1);
    vhdx_new_guid(h + VH_FILE_GUID);
    if (new_data_guid)
        vhdx_new_guid(h + VH_DATA_GUID);
    memset(h + VH_LOG_GUID, 0, VHDX_GUID);
    if (log_guid)
        memcpy(h + VH_LOG_GUID, log_guid, VHDX_GUID);
    st_le32(h + VH_CHECKSUM, vhdx_checksum(h, sizeof(h), VH_CHECKSUM));
    ret = child_pwrite(s->n.file, header_offset(!s->header_at), h, sizeof(h), 0);
    if (!ret)
        ret = child_flush(s->n.file);
    if (ret < 0)
        return ret;
    s->header_at = !s->header_at;
    memcpy(s->header, h, sizeof(h));
    return 0;
}

/* ---- the log as a ring */

static int ring_read(Vhdx *s, uint64_t at, uint8_t *out, size_t len)
{
    size_t first = MIN(len, s->log_len - at);
    int ret = child_pread(s->n.file, s->log_off + at, out, first);

    return ret || first == len ? ret : child_pread(s->n.file, s->log_off, out + first, len - first);
}

static int ring_write(Vhdx *s, uint64_t at, const uint8_t *p, size_t len)
{
    size_t first = MIN(len, s->log_len - at);
    int ret = child_pwrite(s->n.file, s->log_off + at, p, first, 0);

    return ret || first == len ? ret : child_pwrite(s->n.file, s->log_off, p + first, len - first, 0);
}

static size_t desc_sectors(uint64_t count)
{
    return div_up(E_HEADER + count * DESC, VHDX_LOG_SECTOR);
}

static bool is_desc(const uint8_t *d)
{
    return !memcmp(d, "desc", 4);
}

/* Is what lies in the descriptors and data sectors what the header says? */
static bool good_contents(const uint8_t *e, size_t len)
{
    uint64_t sequence = ld_le64(e + E_SEQUENCE);
    uint32_t count = ld_le32(e + E_COUNT);
    const uint8_t *data;

    if (count > len / DESC || desc_sectors(count) * VHDX_LOG_SECTOR > len)
        return false;
    data = e + desc_sectors(count) * VHDX_LOG_SECTOR;
    for (uint32_t i = 0; i < count; i++) {
        const uint8_t *d = e + E_HEADER + i * DESC;
        uint64_t off = ld_le64(d + D_OFFSET);

        if (ld_le64(d + D_SEQUENCE) != sequence || off % VHDX_LOG_SECTOR || off > BLOCK_MAX_SIZE)
            return false;
        if (!memcmp(d, "zero", 4)) {
            if (ld_le64(d + D_LEADING) % VHDX_LOG_SECTOR || ld_le64(d + D_LEADING) > BLOCK_MAX_SIZE)
                return false;
            continue;
        }
        if (!is_desc(d) || (size_t)(e + len - data) < VHDX_LOG_SECTOR || memcmp(data, "data", 4) ||
            ld_le32(data + S_HIGH) != sequence >> 32 || ld_le32(data + S_LOW) != (uint32_t)sequence)
            return false;
        data += VHDX_LOG_SECTOR;
    }
    return true;
}

/* The entry at that place, g_free it; NULL: there is none (or no memory for it). *io is set to a read's error. */
static uint8_t *read_entry(Vhdx *s, uint64_t at, int *io)
{
    uint8_t head[E_HEADER];
    uint32_t len;

    *io = ring_read(s, at, head, sizeof(head));
    if (*io < 0 || memcmp(head, "loge", 4) || memcmp(head + E_GUID, s->header + VH_LOG_GUID, VHDX_GUID))
        return NULL;
    len = ld_le32(head + E_LENGTH);
    if (!len || len % VHDX_LOG_SECTOR || len > s->log_len || ld_le64(head + E_SEQUENCE) == 0 ||
        ld_le32(head + E_TAIL) % VHDX_LOG_SECTOR || ld_le32(head + E_TAIL) >= s->log_len)
        return NULL;
    /* A log of entries that all claim to be long would be read again and again. */
    if (len > s->log_budget) {
        *io = -EINVAL;
        return NULL;
    }
    s->log_budget -= len;
    uint8_t *e = try_alloc(len, 1);
    if (!e)
        return NULL;
    *io = ring_read(s, at, e, len);
    if (*io < 0 || vhdx_checksum(e, len, E_CHECKSUM) != ld_le32(e + E_CHECKSUM) || !good_contents(e, len)) {
        free(e);
        return NULL;
    }
    return e;
}

/* ---- replay: 2.3.3 */

/* Entries that follow each other, from `start`; the head is the last, and its tail is the first that counts. */
typedef struct Sequence { uint64_t start, tail, number; unsigned count; } Sequence;

/* Follows entries from `at`. *next: where to look on. */
static int follow(Vhdx *s, uint64_t at, Sequence *q, uint64_t *next)
{
    uint64_t done = 0, pos = at;
    bool has_tail = false;
    int ret = 0;

    *q = (Sequence){ .start = at };
    g_autoptr(GHashTable) seen = g_hash_table_new(NULL, NULL);
    while (done < s->log_len) {
        uint8_t *e = read_entry(s, pos, &ret);

        if (!e)
            break;
        if (q->count && ld_le64(e + E_SEQUENCE) != q->number + 1) {
            free(e);
            break;
        }
        q->number = ld_le64(e + E_SEQUENCE);
        q->tail = ld_le32(e + E_TAIL);
        q->count++;
        g_hash_table_add(seen, GSIZE_TO_POINTER(pos));
        has_tail = g_hash_table_contains(seen, GSIZE_TO_POINTER(q->tail));
        done += ld_le32(e + E_LENGTH);
        pos = (pos + ld_le32(e + E_LENGTH)) % s->log_len;
        free(e);
    }
    *next = q->count ? at + done : at + VHDX_LOG_SECTOR;
    if (!has_tail)
        q->count = 0;
    return ret;
}

/* The sequence with the highest number. */
static int find_active(Vhdx *s, Sequence *best)
{
    uint64_t next;

    *best = (Sequence){ 0 };
    for (uint64_t at = 0; at < s->log_len; at = next) {
        Sequence q;
        int ret = follow(s, at, &q, &next);

        if (ret < 0)
            return ret;
        if (q.count && q.number > best->number)
            *best = q;
    }
    return 0;
}

static int replay_descriptor(Vhdx *s, const uint8_t *d, const uint8_t **data)
{
    uint8_t page[VHDX_LOG_SECTOR];

    if (!is_desc(d))
        return ld_le64(d + D_LEADING) ? child_zero(s->n.file, ld_le64(d + D_OFFSET), ld_le64(d + D_LEADING), 0) : 0;
    memcpy(page, d + D_LEADING, 8);
    memcpy(page + 8, *data + S_DATA, sizeof(page) - 12);
    memcpy(page + sizeof(page) - 4, d + D_TRAILING, 4);
    *data += VHDX_LOG_SECTOR;
    return child_pwrite(s->n.file, ld_le64(d + D_OFFSET), page, sizeof(page), 0);
}

/* No descriptor reaches beyond what the file is said to have: a log that lies writes no exabytes. */
static bool within(const uint8_t *e, uint64_t last)
{
    for (uint32_t i = 0; i < ld_le32(e + E_COUNT); i++) {
        const uint8_t *d = e + E_HEADER + i * DESC;
        uint64_t len = is_desc(d) ? VHDX_LOG_SECTOR : ld_le64(d + D_LEADING);

        if (ld_le64(d + D_OFFSET) > last || len > last - ld_le64(d + D_OFFSET))
            return false;
    }
    return true;
}

static Err *replay_entry(Vhdx *s, const uint8_t *e)
{
    uint64_t size = child_size(s->n.file), last = ld_le64(e + E_LAST);
    const uint8_t *data = e + desc_sectors(ld_le32(e + E_COUNT)) * VHDX_LOG_SECTOR;
    int ret = 0;

    if (ld_le64(e + E_FLUSHED) > size)
        return err(ERR_INVALID, "the VHDX file was cut: it has %" PRIu64 " bytes, its log knows of %" PRIu64,
                   size, ld_le64(e + E_FLUSHED));
    if (last > BLOCK_MAX_SIZE || !within(e, MAX(last, size)))
        return err(ERR_INVALID, "the VHDX log writes beyond the file's end at %" PRIu64, last);
    if (last > size)
        TRY(child_resize(s->n.file, last, false, (Preallocation){ PREALLOC_OFF }));
    for (uint32_t i = 0; i < ld_le32(e + E_COUNT) && !ret; i++)
        ret = replay_descriptor(s, e + E_HEADER + i * DESC, &data);
    return ret < 0 ? err_errno(-ret, "cannot replay the VHDX log") : NULL;
}

static Err *replay(Vhdx *s, const Sequence *q)
{
    uint64_t at = q->tail;

    for (uint64_t number = 0, done = 0; number != q->number; ) {
        int io;
        g_autofree uint8_t *e = read_entry(s, at, &io);

        if (!e || done >= s->log_len)
            return err(ERR_INVALID, "the VHDX log at %" PRIu64 " changed while it was replayed", s->log_off + at);
        TRY(replay_entry(s, e));
        number = ld_le64(e + E_SEQUENCE);
        done += ld_le32(e + E_LENGTH);
        at = (at + ld_le32(e + E_LENGTH)) % s->log_len;
    }
    return NULL;
}

Err *vhdx_replay(Vhdx *s)
{
    Sequence q;
    int ret;

    if (buf_is_zero(s->header + VH_LOG_GUID, VHDX_GUID))
        return NULL;
    if (!s->log_len)
        return err(ERR_INVALID, "the VHDX header names a log that has no bytes");
    s->log_budget = s->log_len * 8;
    ret = find_active(s, &q);
    if (ret < 0)
        return err_errno(-ret, "cannot read the VHDX log at offset %" PRIu64, s->log_off);
    if (!q.count)
        return NULL;
    if (s->n.read_only)
        return err_hint(err(ERR_INVALID, "VHDX image file '%s' opened read-only, but contains a log that needs to be "
                            "replayed", node_path(&s->n)),
                        "To replay the log, run: lyre-img check -r all '%s'", node_path(&s->n));
    TRY(replay(s, &q));
    ret = child_flush(s->n.file);
    if (!ret)
        ret = vhdx_write_header(s, NULL, false);
    if (ret < 0)
        return err_errno(-ret, "cannot finish the VHDX log's replay");
    s->replayed = true;
    return NULL;
}

/* ---- writing */

static void put_page(uint8_t *desc, uint8_t *data, uint64_t off, uint64_t sequence, const uint8_t *page)
{
    memcpy(desc, "desc", 4);
    memcpy(desc + D_TRAILING, page + VHDX_LOG_SECTOR - 4, 4);
    memcpy(desc + D_LEADING, page, 8);
    st_le64(desc + D_OFFSET, off);
    st_le64(desc + D_SEQUENCE, sequence);
    memcpy(data, "data", 4);
    st_le32(data + S_HIGH, sequence >> 32);
    memcpy(data + S_DATA, page + 8, VHDX_LOG_SECTOR - 12);
    st_le32(data + S_LOW, sequence);
}

int vhdx_log_pages(Table *t, const TableRun *runs, unsigned n)
{
    Vhdx *s = t->opaque;
    uint32_t count = 0, k = 0;
    size_t len;
    int ret;

    for (unsigned i = 0; i < n; i++)
        count += runs[i].len / VHDX_LOG_SECTOR;
    len = (desc_sectors(count) + count) * VHDX_LOG_SECTOR;
    if (len > s->log_len)
        return -EIO;
    g_autofree uint8_t *e = g_malloc0(len);
    uint64_t sequence = ++s->log_sequence;
    memcpy(e, "loge", 4);
    st_le32(e + E_LENGTH, len);
    st_le32(e + E_TAIL, s->log_head);
    st_le64(e + E_SEQUENCE, sequence);
    st_le32(e + E_COUNT, count);
    memcpy(e + E_GUID, s->header + VH_LOG_GUID, VHDX_GUID);
    st_le64(e + E_FLUSHED, s->body.end / VHDX_MIB * VHDX_MIB);
    st_le64(e + E_LAST, round_up(s->body.end, VHDX_MIB));
    for (unsigned i = 0; i < n; i++)
        for (size_t off = 0; off < runs[i].len; off += VHDX_LOG_SECTOR, k++)
            put_page(e + E_HEADER + k * DESC, e + (desc_sectors(count) + k) * VHDX_LOG_SECTOR,
                     t->off + runs[i].off + off, sequence, runs[i].copy + off);
    st_le32(e + E_CHECKSUM, vhdx_checksum(e, len, E_CHECKSUM));
    ret = ring_write(s, s->log_head, e, len);
    if (ret < 0)
        return ret;
    s->log_head = (s->log_head + len) % s->log_len;
    return child_flush(s->n.file);
}
