/* SPDX-License-Identifier: MIT */
/*
 * cmd/config: command lines into configurations, and what is said about
 * command lines that are wrong.
 */
#include "tests/unit/test.h"
#include "cmd/config.h"

#include <glib.h>
#include <stdlib.h>

static Err *parse(const char *line, EmuConfig **out)
{
    char **argv;
    int argc;

    *out = emu_config_new("lyre-system-riscv64", "riscv64");
    if (!*line) {
        char *none[] = { (char *)"lyre", NULL };
        return emu_config_parse(*out, 1, none);
    }
    char *all = g_strconcat("lyre ", line, NULL);
    CHECK(g_shell_parse_argv(all, &argc, &argv, NULL));
    Err *e = emu_config_parse(*out, argc, argv);
    g_strfreev(argv);
    g_free(all);
    return e;
}

static EmuConfig *good(const char *line)
{
    EmuConfig *c;
    Err *e = parse(line, &c);

    if (e) {
        printf("'%s': %s\n", line, err_text(e));
        CHECK(!"parsed");
        err_free(e);
    }
    return c;
}

static void bad(const char *line, const char *in_text, const char *in_hint)
{
    EmuConfig *c;
    Err *e = parse(line, &c);

    if (!e || !strstr(err_text(e), in_text) ||
        (in_hint && (!err_hint_text(e) || !strstr(err_hint_text(e), in_hint)))) {
        printf("'%s': %s / %s\n", line, e ? err_text(e) : "no error",
               e && err_hint_text(e) ? err_hint_text(e) : "");
        CHECK(!"the words wanted");
    }
    err_free(e);
    emu_config_free(c);
}

static void test_usual(void)
{
    EmuConfig *c = good("-M virt,aclint=on,accel=tcg -cpu rv64,zba=off -smp 4 -m 2G -nographic "
                        "--kernel Image -initrd i.gz -append 'a b,c' -bios none -device a -device b,x=1");

    CHECK_STR(c->vm.machine, "virt");
    CHECK_STR(c->vm.machine_opts, "aclint=on");
    CHECK_STR(c->vm.accel, "tcg");
    CHECK_STR(c->vm.cpu, "rv64");
    CHECK_STR(c->vm.cpu_opts, "zba=off");
    CHECK_EQ(c->vm.smp, 4);
    CHECK_EQ(c->vm.ram_size, 2ULL << 30);
    CHECK_STR(c->vm.kernel, "Image");
    CHECK_STR(c->vm.initrd, "i.gz");
    CHECK_STR(c->vm.append, "a b,c");
    CHECK_STR(c->vm.bios, "none");
    CHECK_EQ(c->vm.devices->len, 2);
    CHECK_STR(c->vm.devices->pdata[1], "b,x=1");
    CHECK_EQ(c->vm.serials->len, 1);
    CHECK_STR(c->vm.serials->pdata[0], "mon:stdio");
    emu_config_free(c);
}

static void test_machine(void)
{
    EmuConfig *c = good("-machine accel=kvm:tcg,dumpdtb=/a,,b -M type=virt,x=1,,2 -machine y=off");

    CHECK_STR(c->vm.machine, "virt");
    CHECK_STR(c->vm.accel, "kvm:tcg");
    CHECK_STR(c->vm.dumpdtb, "/a,b");
    CHECK_STR(c->vm.machine_opts, "x=1,,2,y=off");
    emu_config_free(c);
}

static void test_disks(void)
{
    static const char *const drives[] = {
        "index=0,media=disk,file=a,,b.img", "index=1,media=disk,file=x", "index=2,media=cdrom,file=cd", "if=none,id=a,file=b",
        "if=pflash,file=code",
    };
    EmuConfig *c = good("a,b.img -hdb x -cdrom cd -drive if=none,id=a,file=b -pflash code -snapshot -blockdev '{}' "
                        "-object iothread,id=i");

    CHECK_EQ(c->vm.drives->len, G_N_ELEMENTS(drives));
    for (unsigned i = 0; i < c->vm.drives->len; i++)
        CHECK_STR(c->vm.drives->pdata[i], drives[i]);
    CHECK(c->snapshot && c->vm.blockdevs->len == 1 && c->vm.objects->len == 1);
    emu_config_free(c);
}

static void test_smp(void)
{
    static const struct { const char *line; int cpus; } rows[] = {
        { "-smp 1", 1 }, { "-smp cpus=3", 3 }, { "-smp sockets=2,cores=2,threads=2", 8 },
        { "-smp 8,sockets=2", 8 }, { "-smp 8,sockets=2,cores=4,threads=1", 8 },
        { "-smp maxcpus=2", 2 }, { "-smp 2,maxcpus=2", 2 }, { "-smp cores=4", 4 },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        EmuConfig *c = good(rows[i].line);

        CHECK_EQ(c->vm.smp, rows[i].cpus);
        CHECK_EQ(c->vm.maxcpus, rows[i].cpus);
        emu_config_free(c);
    }
    bad("-smp 0", "at least one", NULL);
    bad("-smp 5000", "4096", NULL);
    bad("-smp x", "'x'", NULL);
    bad("-smp -1", "'-1'", NULL);
    bad("-smp 8,sockets=3", "not 8", NULL);
    bad("-smp 8,sockets=2,cores=2,threads=1", "make 4 CPUs", NULL);
    bad("-smp cores=0", "cores=0", NULL);
    bad("-smp sockets=70000,cores=70000,threads=70000", "4096", NULL);
    bad("-smp 4,maxcpus=2", "maxcpus=2", NULL);
    bad("-smp 2,maxcpus=4", "running machine", "maxcpus");
    bad("-smp 2,coers=2", "'coers'", "'cores'");
}

static void test_memory(void)
{
    static const struct { const char *line; uint64_t size; } rows[] = {
        { "-m 512", 512 << 20 }, { "-m 1G", 1 << 30 }, { "-m size=1.5G", 3ULL << 29 },
        { "-m 2097153B", 2101248 }, { "-m 64,slots=0,maxmem=64M", 64 << 20 },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        EmuConfig *c = good(rows[i].line);

        CHECK_EQ(c->vm.ram_size, rows[i].size);
        emu_config_free(c);
    }
    EmuConfig *c = good("");
    CHECK_EQ(c->vm.ram_size, 0);            /* the board's default */
    emu_config_free(c);
    bad("-m 0", "at least 1 MiB", "-m 512");
    bad("-m 4Q", "'4Q'", "1.5G");
    bad("-m 99999999999999999999", "not a size", NULL);
    bad("-m 20E", "too large", NULL);
    bad("-m 1G,maxmem=2G,slots=2", "running machine", NULL);
    bad("-m", "needs an argument", NULL);
}

static void test_boot(void)
{
    EmuConfig *c = good("-boot cd,once=n,menu=on,splash-time=1234,strict=on,reboot-timeout=-1 -fw_cfg opt/a,string=x "
                        "-boot splash=x.jpg,reboot-timeout=5");

    CHECK_STR(c->vm.boot_order, "cd");
    CHECK_STR(c->vm.boot_once, "n");
    CHECK(c->vm.boot_menu && c->vm.boot_strict);
    CHECK(c->vm.boot_has_splash_time && c->vm.boot_splash_time == 1234);
    CHECK(c->vm.boot_has_reboot_timeout && c->vm.boot_reboot_timeout == 5);
    CHECK_STR(c->vm.boot_splash, "x.jpg");
    CHECK_STR(c->vm.fw_cfgs->pdata[0], "opt/a,string=x");
    emu_config_free(c);
    c = good("-boot menu=off,reboot-timeout=-1");
    CHECK(!c->vm.boot_has_reboot_timeout && !c->vm.boot_order);
    emu_config_free(c);
    bad("-boot order=xyz", "'x' is no kind of device", "order=dc");
    bad("-boot cc", "'c' is there twice", NULL);
    bad("-boot once=dd", "'d' is there twice", NULL);
    bad("-boot splash-time=70000", "65535", NULL);
    bad("-boot reboot-timeout=-5", "reboot-timeout", NULL);
    bad("-boot reboot-timeout=65536", "65535", NULL);
    bad("-boot menu=maybe", "maybe", NULL);
    bad("-boot ordr=c", "'ordr'", "'order'");
}

static void test_accel(void)
{
    EmuConfig *c = good("-accel kvm -accel tcg,tb-size=64,one-insn-per-tb=on,engine=interp,thread=multi");

    CHECK_STR(c->vm.accel, "kvm:tcg");
    CHECK_EQ(c->vm.tb_size, 64 << 20);
    CHECK(c->vm.one_insn);
    CHECK_EQ(c->vm.engine, ENGINE_INTERP);
    emu_config_free(c);
    c = good("-singlestep");
    CHECK(c->vm.one_insn && c->vm.engine == ENGINE_JIT && !c->vm.accel);
    emu_config_free(c);
    bad("-accel tcg,engine=jti", "'jti'", "'jit'");
    bad("-accel tcg,thread=single", "thread=single", "-smp 1");
    bad("-enable-kvm", "not available", "-accel tcg");
}

static void test_consoles(void)
{
    static const struct { const char *line; const char *serial; } rows[] = {
        { "", "mon:stdio" }, { "-nographic", "mon:stdio" }, { "-display none", "null" },
        { "-nographic -serial pty", "pty" }, { "-display none -nographic", "mon:stdio" },
        { "-nodefaults", NULL }, { "-nodefaults -nographic", NULL },
        { "-monitor stdio", "null" }, { "-qmp stdio -nographic", "mon:stdio" }, { "-monitor pty", "mon:stdio" },
        { "-vga none -net none -nic none -parallel none -monitor none", "mon:stdio" },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        EmuConfig *c = good(rows[i].line);

        CHECK_EQ(c->vm.serials->len, rows[i].serial != NULL);
        if (rows[i].serial && c->vm.serials->len)
            CHECK_STR(c->vm.serials->pdata[0], rows[i].serial);
        emu_config_free(c);
    }
    EmuConfig *c = good("-echr 2 -serial a -serial b -chardev null,id=x");
    CHECK_EQ(c->escape, 2);
    CHECK_EQ(c->vm.serials->len, 2);
    CHECK_EQ(c->vm.chardevs->len, 1);
    emu_config_free(c);
    bad("-echr 0", "1 to 255", "Ctrl-A");
    bad("-display gtk", "'gtk'", "-nographic");
    bad("-mon mode=control", "chardev", NULL);
    bad("-vga std", "'std'", "none");
}

static void test_rest(void)
{
    EmuConfig *c = good("-d int -d exec -D /l -dfilter 1..2 -trace uart* -no-reboot -no-shutdown -S "
                        "-name guest=foo,debug-threads=on -rtc base=localtime,clock=vm -perfmap "
                        "-uuid 1b4e28ba-2fa1-11d2-883f-0016d3cca427 -pidfile /p -no-user-config");

    CHECK_EQ(c->log_items->len, 2);
    CHECK_STR(c->log_file, "/l");
    CHECK_EQ(c->log_filters->len, 1);
    CHECK_STR(c->traces->pdata[0], "uart*");
    CHECK(c->vm.no_reboot && c->vm.no_shutdown && c->vm.start_paused && c->vm.perfmap);
    CHECK_STR(c->vm.name, "foo");
    CHECK_STR(c->vm.rtc_base, "localtime");
    CHECK_STR(c->vm.rtc_clock, "vm");
    CHECK_STR(c->pidfile, "/p");
    emu_config_free(c);
    bad("-uuid 12", "'12'", "1b4e28ba");
    bad("-rtc base=utc,clock=gues", "'gues'", NULL);
}

static void test_wrong(void)
{
    bad("-serail stdio", "'-serail'", "'-serial'");
    bad("--nogarphic", "'-nogarphic'", "'-nographic'");
    bad("-m=512", "'-m=512'", "-m 512");
    bad("-qqqqq", "'-qqqqq'", "-help");
    bad("-", "no option", "-kernel");
    bad("-", "'-'", NULL);
    bad("--", "'--'", NULL);
    bad("-fda x", "'-fda'", "virtio");
    bad("-qmp", "'-qmp'", NULL);
    bad("-append x", "-append", "-kernel");
    bad("-initrd x", "-initrd", "-kernel");
    bad("-kernel", "needs an argument", NULL);
}

static void test_help(void)
{
    static const struct { const char *line; HelpOn what; } rows[] = {
        { "-help", HELP_OPTIONS }, { "--help", HELP_OPTIONS }, { "-h", HELP_OPTIONS },
        { "-version", HELP_VERSION }, { "-M help", HELP_MACHINE }, { "-M ?", HELP_MACHINE },
        { "-machine virt,help", HELP_MACHINE }, { "-cpu help", HELP_CPU },
        { "-accel help", HELP_ACCEL }, { "-device help", HELP_DEVICE },
        { "-device x,help", HELP_DEVICE }, { "-d help", HELP_LOG }, { "-trace help", HELP_TRACE },
        { "-d trace:help", HELP_TRACE }, { "-chardev help", HELP_CHARDEV },
        { "-serial help -append x", HELP_SERIAL },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        EmuConfig *c = good(rows[i].line);

        CHECK_EQ(c->help, rows[i].what);
        emu_config_free(c);
    }
    char *help = emu_config_help("lyre");
    char **lines = g_strsplit(help, "\n", -1);
    for (char **l = lines; *l; l++) {
        if (strlen(*l) > 80) {
            printf("%s\n", *l);
            CHECK(!"fits a terminal");
        }
    }
    CHECK(strstr(help, "-kernel FILE") && strstr(help, "-M, -machine") && !strstr(help, "-vga"));
    g_strfreev(lines);
    g_free(help);
}

/* Whatever is typed: an error or a configuration, never a crash. */
static void test_random(void)
{
    static const char *const words[] = {
        "-m", "-smp", "-M", "-cpu", "-accel", "-rtc", "-name", "-serial", "-d", "-echr", "-x",
        "1", "0", "virt", ",", "=", ",,", "a=b", "cpus=", "size=1G", "help", "?", "-", "sockets=2",
        "tcg,", "on", "base=", "-append", "", "99999999999999999999", "%s%n",
    };
    unsigned seed = 4711;

    for (int i = 0; i < 5000; i++) {
        char *argv[8] = { (char *)"lyre" };
        int n = 1 + rand_r(&seed) % 6;

        for (int j = 1; j <= n; j++)
            argv[j] = g_strconcat(words[rand_r(&seed) % G_N_ELEMENTS(words)],
                                  j > 1 ? words[rand_r(&seed) % G_N_ELEMENTS(words)] : NULL, NULL);
        EmuConfig *c = emu_config_new("lyre", "riscv64");
        Err *e = emu_config_parse(c, n + 1, argv);
        CHECK(!e || *err_text(e));
        err_free(e);
        emu_config_free(c);
        for (int j = 1; j <= n; j++)
            g_free(argv[j]);
    }
}

int main(void)
{
    RUN(test_usual);
    RUN(test_machine);
    RUN(test_disks);
    RUN(test_smp);
    RUN(test_memory);
    RUN(test_accel);
    RUN(test_boot);
    RUN(test_consoles);
    RUN(test_rest);
    RUN(test_wrong);
    RUN(test_help);
    RUN(test_random);
    return test_end();
}
