import { Dialog } from "../ui/Dialog";
import { showDialog } from "./dialogs";
import { keysShown, shortcuts } from "./keys";
import { t } from "./words";

export function showShortcuts(): void {
  const listed = shortcuts.value;
  showDialog((close) => (
    <Dialog title={t.value.shortcuts} onClose={close}>
      <dl class="shortcuts">
        {listed.map(({ keys, label }) => (
          <div key={keys}>
            <dt>{label()}</dt>
            <dd>
              {keysShown(keys).map((key) => (
                <kbd key={key}>{key}</kbd>
              ))}
            </dd>
          </div>
        ))}
      </dl>
    </Dialog>
  ));
}
