/* tables.h - constant code tables of the storage types; nf4 is in ql_math.inc. */
#ifndef QLORA_CORE_QUANT_TABLES_H
#define QLORA_CORE_QUANT_TABLES_H

extern const float ql_table_fp4[16];
extern const float ql_table_nf2[4], ql_table_nf3[8];
extern const float ql_table_int2[4], ql_table_int3[8], ql_table_int4[16];
extern const float ql_table_int2s[4], ql_table_int3s[8], ql_table_int4s[16];
extern const float ql_table_affine[16];
extern const float ql_table_int8[256];
extern const float ql_table_dyn8_signed[256], ql_table_dyn8_unsigned[256];

#endif
