/* SPDX-License-Identifier: MIT */
/*
 * util/err: the texts an error gathers on its way up, and which name is near.
 */
#include "tests/unit/test.h"
#include "util/err.h"
#include "util/path.h"

#include <errno.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <string.h>

static void test_text(void)
{
    Err *e = err(ERR_NOT_FOUND, "no '%s'", "x");

    CHECK_STR(err_text(e), "no 'x'");
    CHECK_EQ(err_class(e), ERR_NOT_FOUND);
    CHECK(err_hint_text(e) == NULL);
    e = err_in(e, "device '%d'", 7);
    e = err_in(e, "machine");
    CHECK_STR(err_text(e), "machine: device '7': no 'x'");
    CHECK_EQ(err_class(e), ERR_NOT_FOUND);
    err_free(e);
    err_free(NULL);
}

static void test_errno(void)
{
    Err *e = err_errno(ENOENT, "cannot open '%s'", "/a");

    CHECK_STR(err_text(e), "cannot open '/a': No such file or directory");
    CHECK_EQ(err_class(e), ERR_IO);
    err_free(e);
}

static void test_hint(void)
{
    Err *e = err_hint(err(ERR_INVALID, "bad"), "try %s", "good");

    CHECK_STR(err_hint_text(e), "try good");
    e = err_hint(e, "or better");
    CHECK_STR(err_hint_text(e), "try good\nor better");
    err_free(e);
    CHECK(err_hint(NULL, "x") == NULL);
    CHECK(err_in(NULL, "x") == NULL);
}

static Err *fail_if(int bad)
{
    return bad ? err(ERR_BUSY, "bad") : NULL;
}

static Err *tries(int bad, int *reached)
{
    TRY(fail_if(bad));
    *reached = 1;
    return NULL;
}

static void test_try(void)
{
    int reached = 0;
    Err *e = tries(1, &reached);

    CHECK(e && !reached);
    err_free(e);
    CHECK(!tries(0, &reached));
    CHECK(reached);
}

static const char *const names[] = {
    "virt", "sifive_u", "spike", "none", "nographic", "serial", "chardev", "s", NULL
};

static void test_nearest(void)
{
    CHECK_STR(nearest_name("vrit", names), "virt");             /* swapped */
    CHECK_STR(nearest_name("virtt", names), "virt");            /* one too many */
    CHECK_STR(nearest_name("vit", names), "virt");              /* one missing */
    CHECK_STR(nearest_name("VIRT", names), "virt");             /* case */
    CHECK_STR(nearest_name("serail", names), "serial");
    CHECK_STR(nearest_name("nogarphics", names), "nographic");
    CHECK(nearest_name("frobnicate", names) == NULL);
    CHECK(nearest_name("x", names) == NULL);
    CHECK(nearest_name("", names) == NULL);
    CHECK(nearest_name("pq", names) == NULL);
}

static void test_nearest_long(void)
{
    char word[5000];
    const char *const some[] = { word, "virt", NULL };

    memset(word, 'a', sizeof(word) - 1);
    word[sizeof(word) - 1] = 0;
    CHECK(nearest_name(word, some) == word);
    CHECK_STR(nearest_name("virz", some), "virt");
}

static void path_says(int errnum, const char *path, const char *hint)
{
    Err *e = err_path(errnum, path, "cannot open '%s'", path);

    CHECK(g_str_has_prefix(err_text(e), "cannot open '"));
    if (!err_hint_text(e) || !strstr(err_hint_text(e), hint)) {
        printf("%s: %s\n", path, err_hint_text(e) ? err_hint_text(e) : "no hint");
        CHECK(!"the hint wanted");
    }
    err_free(e);
}

static void test_path(void)
{
    char *dir = g_dir_make_tmp("lyre-err-XXXXXX", NULL);
    char *file = g_build_filename(dir, "Image", NULL), *near = g_build_filename(dir, "Imgae", NULL);
    char *far = g_build_filename(dir, "initrd.gz", NULL), *deep = g_build_filename(dir, "a", "b", "c", NULL);
    char *deep_says = g_strdup_printf("no folder '%s/a'", dir);

    CHECK(g_file_set_contents(file, "x", 1, NULL));
    path_says(ENOENT, near, "'Image'");
    path_says(ENOENT, far, "the file is not");
    path_says(ENOENT, deep, deep_says);
    path_says(ENOENT, "no-such-folder/x", "no folder 'no-such-folder' in the current folder");
    path_says(ENOENT, "", "empty");
    path_says(EACCES, file, "mode is 6");
    path_says(EACCES, deep, "ls -ld");
    path_says(EPERM, file, "lsattr");
    path_says(EPERM, "/dev/null", "cgroup_device_acl");
    path_says(EISDIR, dir, "a file");
    path_says(ENOTDIR, file, "middle");
    Err *e = err_path(EIO, file, "cannot read '%s'", file);
    CHECK(!err_hint_text(e));
    err_free(e);
    g_remove(file);
    g_rmdir(dir);
    g_free(dir), g_free(file), g_free(near), g_free(far), g_free(deep), g_free(deep_says);
}

int main(void)
{
    RUN(test_text);
    RUN(test_errno);
    RUN(test_hint);
    RUN(test_path);
    RUN(test_try);
    RUN(test_nearest);
    RUN(test_nearest_long);
    return test_end();
}
