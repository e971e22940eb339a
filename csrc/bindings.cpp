// ddarts._host: what was built, and helpers about the host. No torch in here, so it loads without it.

#include <pybind11/pybind11.h>

#include "common/capability.h"
#include "ddarts_build_record.h"

namespace py = pybind11;

namespace {

py::dict build_record() {
  py::dict record;
  for (const auto& [key, value] : ddarts::kBuildRecord) record[key] = value;
  record["source_hash"] = DDARTS_SOURCE_HASH;
  record["compiler"] = "g++ " __VERSION__;
#ifdef __clang__
  record["compiler"] = "clang " __clang_version__;
#endif
#ifdef _GLIBCXX_USE_CXX11_ABI
  record["abi"] = _GLIBCXX_USE_CXX11_ABI ? "cxx11" : "pre-cxx11";
#else
  record["abi"] = "libc++";
#endif
  record["python"] = PY_VERSION;
  return record;
}

}  // namespace

PYBIND11_MODULE(_host, m) {
  m.doc() = "Build record of the compiled library, and helpers about the host.";
  m.def("build_record", &build_record, "What the compiled library was built with, as a dict of strings.");
  m.def(
      "cpu_capability", [] { return ddarts::capability_name(ddarts::chosen_capability()); },
      "Instruction set the CPU kernels use: 'default', 'avx2' or 'avx512' (DDARTS_CPU_CAPABILITY lowers it).");
}
