/* edgesr-pull: takes models from a signed channel. */
#include <signal.h>
#include <stdio.h>

#include "conformance.h"
#include "fault.h"
#include "options.h"
#include "pull.h"
#include "strict_json.h"
#include "task.h"

int main(int count, char **words) {
    struct options options;
    signal(SIGPIPE, SIG_IGN);
    signal(SIGCHLD, SIG_DFL); /* where it is ignored, a self-test's verdict is lost */
    signal(SIGXFSZ, SIG_IGN); /* a limit on file sizes is then told as a full disk */
    json_in_arena();
    if (!options_read(count, words, &options) || !http_open(&options.transfer)) {
        print_fault("");
        task.result.outcome = "failed";
        if (options.json) result_print(&task.result, "", true);
        return kind_exit_code(fault_kind());
    }
    int code = options.command != NULL ? conformance(&options) : pull(&options);
    http_close();
    return code;
}
