// The door to Debian's libyaml: its event parser and nothing else. It holds no logic; the room
// Configuration is its only user.

#ifndef MILLRACE_CYAML_SHIM_H
#define MILLRACE_CYAML_SHIM_H

#include <yaml.h>

#endif
