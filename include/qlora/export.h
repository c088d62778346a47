/* qlora/export.h - marks what libqlora exports; everything else is hidden. */
#ifndef QLORA_EXPORT_H
#define QLORA_EXPORT_H

#if defined(__GNUC__)
#define QL_API __attribute__((visibility("default")))
#else
#define QL_API
#endif

#endif /* QLORA_EXPORT_H */
