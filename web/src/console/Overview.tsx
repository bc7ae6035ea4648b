import { organisation } from "../app/session";
import { Link } from "../ui/Button";
import { Icon } from "../ui/Icon";
import { may } from "../app/session";
import { type PageProps, pages } from "./pages";
import { t } from "./words";

/** The start of the console: where one is, and the way to every page. */
export default function Overview(_: PageProps) {
  const org = organisation.value;
  const others = pages.filter(({ path, permission }) => path !== "" && (permission === null || may(permission)));
  return (
    <>
      <p class="page-hint">
        {t.value.overviewHint} {org && t.value.yourRole(org.role, org.name)}
      </p>
      <ul class="cards">
        {others.map(({ path, title, icon }) => (
          <li key={path}>
            <Link to={`console/${path}`} class="card">
              <Icon name={icon} />
              <strong>{t.value.pages[title]}</strong>
            </Link>
          </li>
        ))}
      </ul>
    </>
  );
}
