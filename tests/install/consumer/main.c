/* main.c - the least that a program can do with an installed libqlora. */
#include <stdio.h>
#include <string.h>

#include <qlora/backend.h>
#include <qlora/status.h>
#include <qlora/version.h>

int main(void) {
    int devices = 0;
    const ql_backend *cpu = ql_backend_find("cpu");
    if (!cpu || cpu->probe(&devices) != QL_OK || devices != 1) return 1;
    if (strcmp(ql_status_name(QL_ERR_SHAPE), "QL_ERR_SHAPE") != 0) return 1;
    printf("qlora %s\n", QL_VERSION);
    return 0;
}
