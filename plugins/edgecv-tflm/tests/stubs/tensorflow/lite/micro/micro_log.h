// A stand-in of our own for TensorFlow Lite Micro's header: prints a line.
#pragma once
#include <stdarg.h>
#include <stdio.h>

__attribute__((format(printf, 1, 2))) inline void MicroPrintf(const char* format, ...) {
  va_list values;
  va_start(values, format);
  vprintf(format, values);
  va_end(values);
  putchar('\n');
}
