/* SPDX-License-Identifier: MIT */
/*
 * Errors of control paths: opening, configuring, realizing.
 *
 * A function that can fail for the user returns `Err *`; NULL is success. The
 * receiver owns the error: it reports it, adds where it was (err_in), or drops
 * it on purpose (err_free). Data paths return 0 or -errno instead.
 * A message is a sentence in three parts: where (err_in adds it in front),
 * what is wrong and why (errno's text where there is one), and, on a line of
 * its own, how to mend it (err_hint).
 */
#ifndef UTIL_ERR_H
#define UTIL_ERR_H

#include <stdarg.h>

typedef enum ErrClass {
    ERR_INVALID,        /* what was asked makes no sense */
    ERR_NOT_FOUND,      /* a name, file or object that is not there */
    ERR_UNSUPPORTED,    /* understood, but not available here */
    ERR_IO,             /* the host refused: errno says why */
    ERR_BUSY,           /* right request, wrong moment */
    /* Those that the machine protocol tells apart: */
    ERR_NO_COMMAND,     /* CommandNotFound */
    ERR_NO_DEVICE,      /* DeviceNotFound */
    ERR_NOT_ACTIVE,     /* DeviceNotActive */
} ErrClass;

typedef struct Err Err;

#define MUST_USE __attribute__((warn_unused_result))

/* A new error; never NULL. fmt as printf, without a full stop or newline. */
MUST_USE Err *err(ErrClass cls, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The same with ": " and strerror(errnum) behind it; class ERR_IO. */
MUST_USE Err *err_errno(int errnum, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Says where: "CONTEXT: old message". Takes and returns e; NULL stays NULL. */
MUST_USE Err *err_in(Err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Adds how to mend it, a sentence of its own. NULL stays NULL. */
MUST_USE Err *err_hint(Err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

const char *err_text(const Err *e);         /* the message, owned by e */
const char *err_hint_text(const Err *e);    /* the hint or NULL, owned by e */
ErrClass err_class(const Err *e);
void err_free(Err *e);                      /* NULL is fine */
/* Prints "PROGRAM: message\n" and the hint to stderr, and frees e. */
void err_report(Err *e);
/* Prints "PROGRAM: note: text\n" to stderr: something the user should know, and that is no error. */
void err_note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Return the Err if there is one. The one macro that changes control flow. */
#define TRY(expr)                   \
    do {                            \
        Err *try_err_ = (expr);     \
        if (try_err_)               \
            return try_err_;        \
    } while (0)

/*
 * The nearest of the names (NULL-terminated) to `word` by edit distance, or
 * NULL if none is near enough to be what was meant. Case is ignored.
 */
const char *nearest_name(const char *word, const char *const *names);

#endif
