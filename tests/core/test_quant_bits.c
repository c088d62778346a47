/*
 * test_quant_bits.c - bits_by_layer: which rule decides, families of types, and requests that are
 * refused with the rule in question.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/quant/bits.h"

static ql_quant_opts usual(const char *type) {
    ql_quant_opts o = ql_quant_opts_default();
    o.type = ql_qtype_find(type)->id;
    return o;
}

static ql_bits *parse(const char *text, const char *type) {
    ql_quant_opts o = usual(type);
    ql_bits *b = NULL;
    if (ql_bits_parse(text, &o, &b) != QL_OK) fail_msg("%s", ql_last_error());
    return b;
}

/* "nf2", "plain" or "usual" for one module. */
static const char *storage(ql_bits *b, const char *module) {
    ql_quant_opts o = ql_quant_opts_default();
    switch (ql_bits_choose(b, module, &o)) {
    case QL_BITS_TYPE: return ql_qtype_at(o.type)->name;
    case QL_BITS_PLAIN: return "plain";
    default: return "usual";
    }
}

static void the_first_rule_that_fits_decides(void **state) {
    (void)state;
    static const struct {
        const char *module, *want;
    } cases[] = {
        {"model.layers.0.self_attn.q_proj", "nf4"},        {"model.layers.3.mlp.up_proj", "nf4"},
        {"model.layers.4.self_attn.q_proj", "int3"},       {"model.layers.4.mlp.up_proj", "nf2"},
        {"model.layers.30.mlp.down_proj", "plain"},        {"model.layers.12.mlp.down_proj", "nf2"},
        {"encoder.block.2.layer.0.SelfAttention.q", "nf4"}};
    ql_bits *b =
        parse(" 0-3:4, self_attn.q_proj : int3,model.layers.30.mlp.down_proj:16,*:2", "nf4");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_string_equal(storage(b, cases[i].module), cases[i].want);
    assert_int_equal(ql_bits_finish(b), QL_OK);
    ql_bits_free(b);
}

/* Names are whole parts of a path: "q_proj" is not in "kq_proj", "layers.1" not in "layers.10". */
static void names_are_whole_parts(void **state) {
    (void)state;
    ql_bits *b = parse("layers.1:8,q_proj:3", "nf4");
    assert_string_equal(storage(b, "model.layers.1.mlp.up_proj"), "llm_int8");
    assert_string_equal(storage(b, "model.layers.10.mlp.up_proj"), "usual");
    assert_string_equal(storage(b, "model.layers.10.self_attn.kq_proj"), "usual");
    assert_string_equal(storage(b, "model.layers.10.self_attn.q_proj"), "nf3");
    ql_bits_free(b);
}

static void bits_stay_in_the_family(void **state) {
    (void)state;
    static const struct {
        const char *usual, *want[4]; /* of 2, 3, 4, 8 bits */
    } cases[] = {{"nf4", {"nf2", "nf3", "nf4", "llm_int8"}},
                 {"fp4", {"nf2", "nf3", "nf4", "llm_int8"}},
                 {"int2", {"int2", "int3", "int4", "int8"}},
                 {"int4s", {"int2s", "int3s", "int4s", "int8"}},
                 {"int3a", {"int2a", "int3a", "int4a", "int8"}},
                 {"int8", {"int2", "int3", "int4", "int8"}}};
    static const int bits[4] = {2, 3, 4, 8};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int k = 0; k < 4; k++)
            assert_string_equal(ql_qtype_like(usual(cases[i].usual).type, bits[k])->name,
                                cases[i].want[k]);
    assert_null(ql_qtype_like(QL_QT_NF4, 5));
    assert_null(ql_qtype_like(QL_QT_INT4, 1));
    ql_quant_opts o = usual("nf4");
    assert_true(ql_quant_opts_of(&o, QL_QT_NF2).double_quant);
    assert_false(ql_quant_opts_of(&o, QL_QT_LLM_INT8).double_quant);
}

static void bad_requests_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *text, *words;
    } cases[] = {{"", "expected WHERE:BITS"},
                 {"0-3:4,,*:2", "expected WHERE:BITS"},
                 {"0-3", "expected WHERE:BITS"},
                 {"5-3:4", "'5-3:4' holds no layer"},
                 {"0-3:5", "2, 3, 4, 8 or 16"},
                 {"0-3:", "2, 3, 4, 8 or 16"},
                 {"0-3:nf5", "one of nf4, fp4"},
                 {"0-:4", "expected a range"},
                 {"-3:4", "fits no weight"},
                 {":4", "expected layers"},
                 {"a..b:4", "expected layers"},
                 {"mlp.:4", "expected layers"},
                 {"99999999999:4", "fits no weight"},
                 {"*:04x", "2, 3, 4, 8 or 16"},
                 {"0-3:4,4-9:2", "names layer 9"},
                 {"7:4", "names layer 7"},
                 {"nosuch:4", "fits no weight"},
                 {"*:4,0-3:2", "'0-3:2' decides nothing"},
                 {"mlp:4,mlp:4,*:2", "decides nothing"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ql_quant_opts o = usual("nf4");
        ql_bits *b = NULL;
        char module[64];
        ql_status s = ql_bits_parse(cases[i].text, &o, &b);
        for (int l = 0; l < 6 && s == QL_OK; l++) {
            snprintf(module, sizeof module, "model.layers.%d.mlp.up_proj", l);
            (void)storage(b, module);
        }
        if (s == QL_OK) s = ql_bits_finish(b);
        assert_int_equal(s, QL_ERR_INVALID);
        if (!strstr(ql_last_error(), cases[i].words))
            fail_msg("'%s': %s", cases[i].text, ql_last_error());
        ql_bits_free(b);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_rule_that_fits_decides),
        cmocka_unit_test(names_are_whole_parts),
        cmocka_unit_test(bits_stay_in_the_family),
        cmocka_unit_test(bad_requests_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
