/* SPDX-License-Identifier: MIT */
/* What the files of monitor/ share. */
#ifndef MONITOR_PRIV_H
#define MONITOR_PRIV_H

#include "monitor/hmp.h"
#include "monitor/monitor.h"
#include "monitor/schema_gen.h"

enum {
    MONITOR_IN = 4096,                  /* bytes that are taken from the backend at once */
    MONITOR_OUT_HIGH = 1 << 20,         /* a peer with that much unread is not listened to until it has read */
    MONITOR_OUT_MOST = 64 << 20,        /* and gets no events beyond this */
};

typedef struct MonitorKind {
    size_t size;                        /* of a struct that begins with a Monitor */
    void (*start)(Monitor *, const MonitorConfig *);
    void (*data)(Monitor *, const uint8_t *buf, int n);
    void (*event)(Monitor *, CharEvent what);
    /* An event of the schema, whole and with its time; NULL: this kind shows none. */
    void (*emit)(Monitor *, const json_t *event);
    bool (*busy)(const Monitor *);      /* it takes no input for now. May be NULL */
    void (*free)(Monitor *);
} MonitorKind;
extern const MonitorKind monitor_qmp, monitor_hmp;

struct Monitor {
    Vm *vm;
    Monitors *set;
    const MonitorKind *kind;
    char *id;
    CharPort port;                      /* chr NULL: of hmp_run */
    GByteArray *out; guint sent;        /* what the backend has not taken yet is behind the first `sent` bytes */
    bool moved;                         /* monitor/qmp/oob.h: it lives in that thread; changes in the main one */
    bool opened;                        /* it was told of its peer */
    bool dropped;                       /* events were, for want of a reader */
    GArray *received;                   /* monitor/cmd_fds.c: descriptors that came along and nobody took yet; NULL: none */
    int cpu;                            /* the one that is looked at; `cpu N` chooses */
    Monitor *next;
};

struct Monitors {
    Vm *vm;
    MonitorHost host;
    Monitor *list;
    Monitor *nobody;                    /* whose commands hmp_run's are */
    pthread_t thread;                   /* the main one */
    GHashTable *rates;                  /* monitor/events.c: "EVENT" or "EVENT key" -> Rate */
    GAsyncQueue *posted;                /* monitor/events.c: raised by other threads */
    GHashTable *fds;                    /* getfd's: name -> descriptor */
    struct Oob *oob;                    /* monitor/qmp/oob.c; NULL: no client wanted it yet */
    struct DirtyRate *dirty_rate;       /* monitor/cmd_stats.c; NULL: never measured */
};

static inline guint monitor_unread(const Monitor *m) { return m->out->len - m->sent; }
void monitor_write(Monitor *m, const char *text, size_t len);

/* monitor/events.c */
void events_init(Monitors *set);
void events_clear(Monitors *set);

/* monitor/cmd_fds.c: the descriptor of that number, or of that name at getfd: it is the caller's from now on. */
MUST_USE Err *monitor_take_fd(Monitor *m, const char *name, int *fd);
MUST_USE Err *monitor_named_fd(void *monitor, const char *name, int *fd);       /* the same, for those who know no monitors */

/* Descriptors that came with the command that runs now, for getfd and add-fd; they take the place of what nobody wanted. */
void monitor_received(Monitor *m, const int *fds, int n);

/* monitor/cmd_stats.c */
void dirty_rate_free(Monitors *set);

/* monitor/qmp/session.c */
/* One command as JSON: *ret is its answer; {"execute":..} is checked already. */
MUST_USE Err *qmp_call(Monitor *m, const char *name, const json_t *args, json_t **ret);
/* The same for a command of the console that passes on these members: nothing comes back. Takes args. */
MUST_USE Err *qmp_pass(Monitor *m, const char *name, json_t *args);
const char *qmp_error_class(const Err *e);
char *qmp_error_desc(const Err *e);     /* with its hint; g_free it */

/* monitor/hmp/hmp.c */
void hmp_line(Monitor *m, const char *line, GString *out);

/* ---- what handlers share (monitor/common.c) */
MUST_USE Err *no_device(const char *name);              /* DeviceNotFound */
MUST_USE Err *monitor_vcpu(Monitor *m, Vcpu **out);     /* the one that is looked at; machines without CPUs: an error */
json_t *field_json(const void *obj, const Field *f);    /* a property's value; NULL: it has none */
MUST_USE Err *field_text_json(const Field *f, const char *text, json_t **out);  /* what that text makes of one; NULL is "" */
const char *field_json_type(const Field *f);            /* "str", "bool", "uint32" .. */
json_t *text_json(const char *text);                    /* a string, also of bytes that are no UTF-8 */

/* "Invalid ..." for what cannot be there in this machine. */
static inline json_t *take(json_t *v) { return v ? v : json_null(); }

#endif
