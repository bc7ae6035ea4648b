import { t as shell } from "../../app/words";
import { failureOf } from "../../app/useSend";
import { notify } from "../../ui/notice";

/** Do something at the press of a button of a row; a failure is said at the edge of the page. */
export async function deed(work: () => Promise<unknown>, done?: string): Promise<boolean> {
  try {
    await work();
    if (done) notify(done);
    return true;
  } catch (error) {
    const { what, hint } = failureOf(error);
    notify([what || shell.value.failed, hint].filter(Boolean).join(" · "));
    return false;
  }
}
