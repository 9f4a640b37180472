/* SPDX-License-Identifier: MIT */
/*
 * block/objects, block/secret: made, found, refused; secrets in all their
 * writings. The encrypted one was made with openssl enc -aes-256-cbc.
 */
#include <glib.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "block/objects.h"
#include "tests/unit/test.h"

static bool ok(Err *e)
{
    if (e)
        printf("%s\n", err_text(e));
    bool good = !e;
    err_free(e);
    return good;
}

static bool fails(Err *e, const char *words)
{
    bool good = e && strstr(err_text(e), words);

    if (!good)
        printf("'%s', want '%s'\n", e ? err_text(e) : "(no error)", words);
    err_free(e);
    return good;
}

static bool secret_is(Objects *o, const char *id, const char *want)
{
    uint8_t *b = NULL;
    size_t len;
    bool same = ok(secret_bytes(o, id, &b, &len)) && len == strlen(want) && !memcmp(b, want, len) && !b[len];

    secret_free(b, len);
    return same;
}

static void test_secrets(void)
{
    Objects *o = objects_new();
    g_autofree char *path = NULL;
    int fd = g_file_open_tmp("lyre-secret-XXXXXX", &path, NULL);

    CHECK(write(fd, "from file\n", 10) == 10);
    close(fd);
    CHECK(ok(objects_add(o, "secret,id=a,data=pass,,word")));
    CHECK(secret_is(o, "a", "pass,word"));
    CHECK(ok(objects_add(o, "{\"qom-type\":\"secret\",\"id\":\"b\",\"data\":\"aGVsbG8=\",\"format\":\"base64\"}")));
    CHECK(secret_is(o, "b", "hello"));
    g_autofree char *text = g_strdup_printf("secret,id=c,file=%s", path);
    CHECK(ok(objects_add(o, text)));
    CHECK(secret_is(o, "c", "from file\n"));
    /* A file of base64 may end its line. */
    CHECK(g_file_set_contents(path, "aGVsbG8=\n", -1, NULL));
    g_autofree char *text2 = g_strdup_printf("secret,id=d,file=%s,format=base64", path);
    CHECK(ok(objects_add(o, text2)));
    CHECK(secret_is(o, "d", "hello"));
    unlink(path);
    CHECK(fails(objects_add(o, text2), "duplicate"));
    CHECK(fails(objects_add(o, "secret,id=e,file=/nonexistent/x"), "Unable to read"));
    CHECK(fails(objects_add(o, "secret,id=e"), "Must provide 'file' or 'data'"));
    CHECK(fails(objects_add(o, "secret,id=e,data=x,file=y"), "mutually exclusive"));
    CHECK(fails(objects_add(o, "secret,id=e,data=%%%,format=base64"), "not valid base64"));
    CHECK(fails(objects_add(o, "secret,id=e,data=x,iv=AAAA"), "without 'keyid'"));
    CHECK(ok(objects_add(o, "secret,id=empty,data=")));
    CHECK(secret_is(o, "empty", ""));
    objects_free(o);
}

static void test_encrypted(void)
{
    Objects *o = objects_new();

    CHECK(ok(objects_add(o, "secret,id=master,format=base64,data=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")));
    CHECK(ok(objects_add(o, "secret,id=s,keyid=master,iv=ICEiIyQlJicoKSorLC0uLw==,format=base64,"
                         "data=/zwOo3OPALoggv3d/6ImoXkk2X676aNKlp1fhodi5cg=")));
    CHECK(secret_is(o, "s", "a secret of some length"));
    CHECK(fails(objects_add(o, "secret,id=t,keyid=master,format=base64,data=/zwOo3OPALoggv3d/6ImoXkk2X676aNKlp1fhodi5cg="), "IV is required"));
    CHECK(fails(objects_add(o, "secret,id=t,keyid=master,iv=AAAA,format=base64,data=/zwOo3OPALoggv3d/6ImoXkk2X676aNKlp1fhodi5cg="), "16 bytes"));
    CHECK(fails(objects_add(o, "secret,id=t,keyid=nosuch,iv=ICEiIyQlJicoKSorLC0uLw==,data=x"), "No secret with id 'nosuch'"));
    CHECK(fails(objects_add(o, "secret,id=t,keyid=s,iv=ICEiIyQlJicoKSorLC0uLw==,data=x"), "32 bytes"));
    CHECK(fails(objects_add(o, "secret,id=t,keyid=master,iv=ICEiIyQlJicoKSorLC0uLw==,data=x"), "not a multiple"));
    CHECK(fails(objects_add(o, "secret,id=t,keyid=master,iv=ICEiIyQlJicoKSorLC0uLw==,format=base64,"
                            "data=AAECAwQFBgcICQoLDA0ODw=="), "padding"));
    objects_free(o);
}

static void test_kinds(void)
{
    Objects *o = objects_new();
    Object *ob;
    uint8_t *b;
    size_t len;

    CHECK(ok(objects_add(o, "iothread,id=io0,poll-max-ns=0")));
    CHECK(ok(objects_add(o, "qom-type=secret,id=s,data=x")));
    CHECK(fails(objects_add(o, "secrett,id=x"), "invalid object type: secrett"));
    CHECK(fails(objects_add(o, "secret,data=x"), "Parameter 'id' is missing"));
    CHECK(fails(objects_add(o, "secret,id=1x,data=x"), "expects an identifier"));
    CHECK(fails(objects_add(o, "secret,id=x,nosuch=1"), "no property 'nosuch'"));
    CHECK(fails(objects_add(o, "id=x"), "'qom-type' is missing"));
    CHECK(fails(objects_add(o, "{\"qom-type\":\"secret\",\"id\":\"x\",\"data\":[1]}"), "neither a string"));
    CHECK(fails(objects_add(o, "{\"qom-type\""), "JSON"));
    CHECK(ok(objects_find(o, "iothread", "io0", &ob)));
    CHECK(fails(objects_find(o, "secret", "io0", &ob), "is a iothread"));
    CHECK(fails(objects_find(o, "secret", "io", &ob), "No secret"));
    CHECK(fails(secret_bytes(o, "io0", &b, &len), "is a iothread"));
    CHECK(fails(objects_del(o, "nosuch"), "not found"));
    CHECK(ok(objects_add(o, "throttle-group,id=tg,x-bps-total=1M,x-bps-total-max=2M")));
    json_t *j = json_loads("{\"limits\":{\"bps-total\":3000000}}", 0, NULL);
    CHECK(fails(objects_set(o, "tg", j), "cannot be lower"));       /* and nothing has changed: */
    json_object_set_new(j, "x-bps-total-max", json_integer(4000000));
    CHECK(ok(objects_set(o, "tg", j)));
    json_decref(j);
    CHECK(fails(objects_set(o, "s", json_null()), "cannot be changed"));
    CHECK(ok(objects_del(o, "io0")));
    CHECK(ok(objects_add(o, "iothread,id=io0")));
    g_autofree char *all = objects_help(NULL), *one = objects_help("secret"), *none = objects_help("x");
    CHECK(strstr(all, "  throttle-group\n") && strstr(one, "keyid=<str>") && !none);
    objects_free(o);
}

int main(void)
{
    RUN(test_secrets);
    RUN(test_encrypted);
    RUN(test_kinds);
    return test_end();
}
