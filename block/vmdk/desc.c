/* SPDX-License-Identifier: MIT */
/*
 * The descriptor of a VMDK: "key=value" lines, and lines of extents such as
 *
 *     RW 4192256 SPARSE "test-s001.vmdk"
 *     RW 1048576 FLAT "test-f001.vmdk" 0
 */
#include <errno.h>
#include <stdlib.h>

#include "block/vmdk/vmdk.h"

static const char *skip_space(const char *p)
{
    while (*p == ' ' || *p == '\t' || *p == '\r')
        p++;
    return p;
}

/* Copies the next line, trimmed, and steps behind it; NULL at the end. g_free it. */
static char *next_line(const char **text)
{
    const char *end;
    char *line;

    if (!**text)
        return NULL;
    end = strchrnul(*text, '\n');
    line = g_strndup(*text, end - *text);
    *text = *end ? end + 1 : end;
    return g_strstrip(line);
}

/* "key = value" -> value, without quotes; NULL if the line's key is another. g_free it. */
static char *value_of(const char *line, const char *key)
{
    size_t len = strlen(key);

    if (g_ascii_strncasecmp(line, key, len))
        return NULL;
    line = skip_space(line + len);
    if (*line != '=')
        return NULL;
    line = skip_space(line + 1);
    if (*line != '"')
        return g_strdup(line);
    return g_strndup(line + 1, strcspn(line + 1, "\""));
}

/* It begins with comments and empty lines, then "version=1" to 3. */
bool vmdk_is_desc(const uint8_t *text, size_t len)
{
    g_autofree char *copy = g_strndup((const char *)text, len);
    const char *p = copy;

    for (;;) {
        g_autofree char *line = next_line(&p);
        g_autofree char *version = line ? value_of(line, "version") : NULL;

        if (!line)
            return false;
        if (version)
            return !strcmp(version, "1") || !strcmp(version, "2") || !strcmp(version, "3");
        if (*line && *line != '#')
            return false;
    }
}

/* The word at *p, which is stepped behind it; g_free it. */
static char *word(const char **p)
{
    const char *from = skip_space(*p);

    *p = from + strcspn(from, " \t\r");
    return g_strndup(from, *p - from);
}

static bool number(const char **p, uint64_t *out)
{
    const char *from = skip_space(*p);
    char *end;

    if (!g_ascii_isdigit(*from))
        return false;
    errno = 0;
    *out = strtoull(from, &end, 10);
    *p = end;
    return !errno;
}

/* An extent's line; *is says whether it is one at all. */
static Err *extent_line(const char *line, VmdkLine *out, bool *is)
{
    static const char *const access[] = { "NOACCESS", "RDONLY", "RW", NULL };
    const char *p = line;
    g_autofree char *first = word(&p);

    *out = (VmdkLine){ 0 };
    *is = false;
    for (int i = 0; access[i]; i++)
        if (!strcmp(first, access[i])) {
            out->access = i;
            *is = true;
        }
    if (!*is)
        return NULL;
    if (!number(&p, &out->sectors))
        return err(ERR_INVALID, "Invalid extent line: %s", line);
    out->type = word(&p);
    p = skip_space(p);
    if (*p == '"') {
        size_t len = strcspn(p + 1, "\"");

        out->name = g_strndup(p + 1, len);
        p += len + 1;
        if (*p != '"')
            return err(ERR_INVALID, "Invalid extent line: %s", line);
        p = skip_space(p + 1);
        if (*p && !number(&p, &out->offset))
            return err(ERR_INVALID, "Invalid extent line: %s", line);
    }
    if (out->sectors > BLOCK_MAX_SIZE / VMDK_SECTOR || out->offset > BLOCK_MAX_SIZE / VMDK_SECTOR)
        return err(ERR_INVALID, "Invalid extent line: %s", line);
    return NULL;
}

static Err *parse_cid(const char *text, const char *what, uint32_t *out)
{
    char *end;
    unsigned long long v = strtoull(text, &end, 16);

    if (end == text || *skip_space(end) || v > UINT32_MAX)
        return err(ERR_INVALID, "invalid VMDK image descriptor: %s is '%s', no hexadecimal number", what, text);
    *out = v;
    return NULL;
}

static Err *parse_line(const char *line, VmdkDesc *d, bool *has_cid)
{
    char *v;
    bool is;
    VmdkLine l;
    Err *e = NULL;

    if (!*line || *line == '#')
        return NULL;
    if ((v = value_of(line, "CID"))) {
        e = parse_cid(v, "CID", &d->cid);
        *has_cid = true;
        g_free(v);
    } else if ((v = value_of(line, "parentCID"))) {
        e = parse_cid(v, "parentCID", &d->parent_cid);
        g_free(v);
    } else if ((v = value_of(line, "createType"))) {
        g_free(d->create_type);
        d->create_type = v;
    } else if ((v = value_of(line, "parentFileNameHint"))) {
        g_free(d->parent);
        d->parent = v;
    } else {
        e = extent_line(line, &l, &is);
        if (!e && is && d->lines->len >= VMDK_EXTENTS_MAX)
            e = err(ERR_UNSUPPORTED, "the VMDK has more than %d extents", VMDK_EXTENTS_MAX);
        if (!e && is) {
            g_array_append_val(d->lines, l);
        } else {
            g_free(l.type);
            g_free(l.name);
        }
    }
    return e;
}

Err *vmdk_desc_parse(const char *text, VmdkDesc *out)
{
    bool has_cid = false;
    char *line;

    *out = (VmdkDesc){ .cid = 0, .parent_cid = VMDK_NO_CID, .lines = g_array_new(FALSE, FALSE, sizeof(VmdkLine)) };
    while ((line = next_line(&text))) {
        Err *e = parse_line(line, out, &has_cid);

        g_free(line);
        if (e)
            return e;
    }
    if (!has_cid || !out->create_type)
        return err(ERR_INVALID, "invalid VMDK image descriptor: it has no %s", has_cid ? "createType" : "CID");
    return NULL;
}

void vmdk_desc_clear(VmdkDesc *d)
{
    for (unsigned i = 0; d->lines && i < d->lines->len; i++) {
        g_free(g_array_index(d->lines, VmdkLine, i).type);
        g_free(g_array_index(d->lines, VmdkLine, i).name);
    }
    if (d->lines)
        g_array_free(d->lines, TRUE);
    g_free(d->create_type);
    g_free(d->parent);
    *d = (VmdkDesc){ 0 };
}

char *vmdk_desc_with_cid(const char *text, uint32_t cid)
{
    for (const char *p = text; *p; ) {
        const char *end = strchrnul(p, '\n');
        g_autofree char *line = g_strndup(p, end - p);
        g_autofree char *v = value_of(skip_space(line), "CID");

        if (v)
            return g_strdup_printf("%.*sCID=%08" PRIx32 "%s", (int)(p - text), text, cid, end);
        p = *end ? end + 1 : end;
    }
    return NULL;
}
