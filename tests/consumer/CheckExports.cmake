# Every symbol that the shared library defines for others lies in Quern's
# versioned namespace or begins with quern_, and it needs neither LLVM nor CUDA.
execute_process(COMMAND "${NM}" -D --defined-only "${LIBRARY}"
  OUTPUT_VARIABLE symbols COMMAND_ERROR_IS_FATAL ANY)
string(REPLACE "\n" ";" symbols "${symbols}")
set(count 0)
set(stray "")
set(seen_call FALSE)
foreach(line IN LISTS symbols)
  if(NOT line MATCHES "^[0-9a-f]* *([A-Za-z]) ([^ ]+)$")
    continue()
  endif()
  set(kind "${CMAKE_MATCH_1}")
  string(REGEX REPLACE "@.*" "" name "${CMAKE_MATCH_2}")
  if(name STREQUAL "QUERN_0") # The version itself.
    continue()
  endif()
  math(EXPR count "${count} + 1")
  if(name MATCHES "^_ZNK5quern2v05Layer4call")
    set(seen_call TRUE)
  endif()
  if(NOT name MATCHES "^_Z(N|NK|TIN|TSN|TVN)5quern2v0" AND
     NOT name MATCHES "^quern_")
    list(APPEND stray "${name}")
  endif()
  # Inner parts have no business outside either.
  if(name MATCHES "5quern2v0(6detail|3sim|4cuda|3cpu|6format)")
    list(APPEND stray "${name}")
  endif()
endforeach()
if(stray)
  list(JOIN stray "\n  " stray)
  message(FATAL_ERROR "symbols that should not be exported:\n  ${stray}")
endif()
if(NOT seen_call OR count LESS 20)
  message(FATAL_ERROR "the public interface is not exported (${count} symbols)")
endif()

execute_process(COMMAND "${READELF}" -d "${LIBRARY}"
  OUTPUT_VARIABLE dynamic COMMAND_ERROR_IS_FATAL ANY)
if(dynamic MATCHES "NEEDED[^\n]*(LLVM|MLIR|cuda|nvrtc)")
  message(FATAL_ERROR "the runtime links what it must open at run time:\n"
    "${dynamic}")
endif()
message(STATUS "${count} exported symbols")
