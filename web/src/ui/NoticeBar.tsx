import { dismissNotice, notice } from "./notice";
import { t } from "../app/words";
import { Icon } from "./Icon";

export function NoticeBar() {
  const shown = notice.value;
  return (
    <div class="notice-place" role="status">
      {shown && (
        <div class="notice">
          <span>{shown.text}</span>
          {shown.action && (
            <button
              class="link"
              onClick={() => {
                shown.action?.run();
                dismissNotice();
              }}
            >
              {shown.action.label}
            </button>
          )}
          <button class="quiet" aria-label={t.value.dismiss} onClick={dismissNotice}>
            <Icon name="close" />
          </button>
        </div>
      )}
    </div>
  );
}
