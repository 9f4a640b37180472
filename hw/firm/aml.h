/* SPDX-License-Identifier: MIT */
/*
 * AML, the byte code of ACPI's definition blocks (ACPI 6.5, section 20), written
 * in the order it is read: what is opened (a scope, a device, a method, a package,
 * resources) stays open until aml_end; an operator is followed by its operands.
 *
 *     aml_begin_device(a, "COM0");
 *     aml_name_text(a, "_HID", "RSCV0003");
 *     aml_begin_resources(a, "_CRS");
 *     aml_memory32(a, true, 0x10000000, 0x100);
 *     aml_end(a);
 *     aml_begin_method(a, "_STA", 0, false);
 *     aml_op(a, AML_RETURN);
 *     aml_int(a, 0xf);
 *     aml_end(a);
 *     aml_end(a);
 *
 * Names are paths as ASL has them: "\\_SB.PCI0", "^X"; segments are filled up to
 * four characters. What a caller gets wrong (a name, an end too many) is a mistake of the program: it is
 * checked, never guessed at. Nothing here comes from a guest.
 */
#ifndef HW_FIRM_AML_H
#define HW_FIRM_AML_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct Aml {
    GByteArray *code;
    GArray *open;               /* what is open, the innermost last */
} Aml;

void aml_init(Aml *a);
void aml_clear(Aml *a);

/* ---- containers, ended by aml_end */
void aml_begin_scope(Aml *a, const char *path);
void aml_begin_device(Aml *a, const char *name);
void aml_begin_thermal_zone(Aml *a, const char *name);
void aml_begin_power_resource(Aml *a, const char *name, uint8_t system_level, uint16_t order);
void aml_begin_method(Aml *a, const char *name, unsigned args, bool serialized);
void aml_begin_package(Aml *a);             /* its elements are counted */
void aml_begin_if(Aml *a);                  /* the condition comes first, then what to do */
void aml_begin_else(Aml *a);
void aml_begin_while(Aml *a);               /* as if */
void aml_end(Aml *a);

/* ---- data */
void aml_int(Aml *a, uint64_t val);
void aml_text(Aml *a, const char *s);
void aml_buffer(Aml *a, const void *bytes, size_t len);
void aml_eisaid(Aml *a, const char *id);    /* "PNP0A08", as a number */
void aml_uuid(Aml *a, const char *uuid);    /* ToUUID("..."), as a buffer */
void aml_path(Aml *a, const char *path);    /* a reference; with arguments behind it, a call */

/* ---- named objects */
void aml_name(Aml *a, const char *name);    /* Name(name, ...): its value comes next */
void aml_name_int(Aml *a, const char *name, uint64_t val);
void aml_name_text(Aml *a, const char *name, const char *s);
void aml_name_eisaid(Aml *a, const char *name, const char *id);
void aml_alias(Aml *a, const char *of, const char *name);
void aml_mutex(Aml *a, const char *name, uint8_t level);
void aml_event(Aml *a, const char *name);
void aml_external(Aml *a, const char *path, uint8_t type, uint8_t args);

typedef enum AmlSpace { AML_MEMORY, AML_IO, AML_PCI_CONFIG, AML_EC, AML_SMBUS, AML_CMOS, AML_PCI_BAR } AmlSpace;
void aml_region(Aml *a, const char *name, AmlSpace space, uint64_t off, uint64_t len);
/* OperationRegion whose offset and length are the next two terms. */
void aml_region_of(Aml *a, const char *name, AmlSpace space);
typedef enum AmlAccess { AML_ANY, AML_BYTE, AML_WORD, AML_DWORD, AML_QWORD, AML_BUFFER } AmlAccess;
typedef enum AmlUpdate { AML_PRESERVE, AML_WRITE_ONES, AML_WRITE_ZEROS } AmlUpdate;
/* Fields of a region, from bit 0 on; ended by aml_end. */
void aml_begin_field(Aml *a, const char *region, AmlAccess access, bool lock, AmlUpdate update);
void aml_begin_index_field(Aml *a, const char *index, const char *data, AmlAccess access, bool lock, AmlUpdate update);
void aml_bits(Aml *a, const char *name /* NULL: not named */, unsigned bits);

/* ---- operators: the operands come next, then (where there is one) the target; aml_none is no target */
typedef enum AmlOp {
    AML_STORE = 0x70, AML_REF_OF = 0x71, AML_ADD = 0x72, AML_CONCAT = 0x73, AML_SUBTRACT = 0x74, AML_INCREMENT = 0x75,
    AML_DECREMENT = 0x76, AML_MULTIPLY = 0x77, AML_DIVIDE = 0x78, AML_SHIFT_LEFT = 0x79, AML_SHIFT_RIGHT = 0x7a,
    AML_AND = 0x7b, AML_NAND = 0x7c, AML_OR = 0x7d, AML_NOR = 0x7e, AML_XOR = 0x7f, AML_NOT = 0x80, AML_DEREF_OF = 0x83,
    AML_CONCAT_RES = 0x84, AML_MOD = 0x85, AML_NOTIFY = 0x86, AML_SIZE_OF = 0x87, AML_INDEX = 0x88,
    AML_CREATE_DWORD_FIELD = 0x8a, AML_CREATE_WORD_FIELD = 0x8b, AML_CREATE_BYTE_FIELD = 0x8c,
    AML_OBJECT_TYPE = 0x8e, AML_CREATE_QWORD_FIELD = 0x8f, AML_LAND = 0x90, AML_LOR = 0x91, AML_LNOT = 0x92,
    AML_LEQUAL = 0x93, AML_LGREATER = 0x94, AML_LLESS = 0x95, AML_TO_BUFFER = 0x96, AML_TO_HEX = 0x98, AML_TO_INTEGER = 0x99,
    AML_TO_STRING = 0x9c, AML_MID = 0x9e, AML_CONTINUE = 0x9f, AML_NOP = 0xa3, AML_RETURN = 0xa4, AML_BREAK = 0xa5,
    AML_LNOT_EQUAL = 0x9293, AML_LLESS_EQUAL = 0x9294, AML_LGREATER_EQUAL = 0x9295,
    AML_COND_REF_OF = 0x5b12, AML_CREATE_FIELD = 0x5b13, AML_STALL = 0x5b21, AML_SLEEP = 0x5b22, AML_ACQUIRE = 0x5b23,
    AML_SIGNAL = 0x5b24, AML_WAIT = 0x5b25, AML_RELEASE = 0x5b27, AML_REVISION = 0x5b30, AML_DEBUG = 0x5b31,
} AmlOp;
void aml_op(Aml *a, AmlOp op);
void aml_arg(Aml *a, unsigned n);           /* Arg0 .. Arg6 */
void aml_local(Aml *a, unsigned n);         /* Local0 .. Local7 */
void aml_none(Aml *a);
void aml_raw16(Aml *a, uint16_t val);       /* Acquire's time-out, the one operand that is no term */

/* ---- resource descriptors (section 6.4), between aml_begin_resources and aml_end */
void aml_begin_resources(Aml *a, const char *name);     /* Name(name, ResourceTemplate() {...}); NULL: the buffer alone */
void aml_memory32(Aml *a, bool writable, uint32_t base, uint32_t len);
void aml_io(Aml *a, uint16_t min, uint16_t max, uint8_t align, uint8_t len);      /* 16 bits decoded */
void aml_irq(Aml *a, unsigned irq);                     /* IRQNoFlags: an ISA one, edge, active high */

typedef enum AmlIrq { AML_PRODUCER = 0, AML_CONSUMER = 1, AML_LEVEL = 0, AML_EDGE = 2, AML_HIGH = 0, AML_LOW = 4,
                      AML_SHARED = 8, AML_WAKES = 16 } AmlIrq;
void aml_interrupts(Aml *a, unsigned flags, unsigned n, const uint32_t *irqs);    /* Interrupt(): extended */

typedef enum AmlWidth { AML_16 = 2, AML_32 = 4, AML_64 = 8 } AmlWidth;
/* What a bus passes on to its devices: addresses min .. min+len-1 on the bus, `translation` less than the CPU's. */
typedef struct AmlWindow { uint64_t min, len, translation; } AmlWindow;
void aml_bus_numbers(Aml *a, uint16_t first, uint16_t count);
void aml_memory_window(Aml *a, AmlWidth width, bool prefetchable, AmlWindow w);
/* `memory`: the ports are reached by memory accesses at translation (TypeTranslation). */
void aml_io_window(Aml *a, AmlWidth width, bool memory, AmlWindow w);

#endif
