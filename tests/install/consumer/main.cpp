/* main.cpp - the application interface from C++: handles in smart pointers, options, an error. */
#include <cstdio>
#include <cstring>
#include <memory>

#include <qlora/qlora.h>

struct Close {
    void operator()(qlora_session *s) const { qlora_session_close(s); }
    void operator()(qlora_model *m) const { qlora_model_close(m); }
};

int main(int argc, char **argv) {
    if (argc != 2) return 2;
    qlora_session *s = nullptr;
    qlora_session_opts so = qlora_session_defaults();
    so.device = "cpu";
    if (qlora_session_open(&so, &s) != QL_OK) return 1;
    std::unique_ptr<qlora_session, Close> session(s);

    qlora_model *m = nullptr;
    if (qlora_model_open(s, "/nowhere", nullptr, &m) == QL_OK || m) return 1;
    if (!std::strstr(ql_last_error(), "/nowhere")) return 1;
    if (qlora_model_open(s, argv[1], nullptr, &m) != QL_OK) return 1;
    std::unique_ptr<qlora_model, Close> model(m);

    qlora_model_info info;
    if (qlora_model_describe(m, &info) != QL_OK || info.layers < 1) return 1;
    std::printf("%s from C++\n", info.family);
    return 0;
}
