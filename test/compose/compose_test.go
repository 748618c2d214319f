// Package compose keeps docker-compose.yml, the Dockerfile and the balancer's configuration valid without Docker: it parses
// them as Docker's own tools do, and checks what they say against the server.
package compose

import (
	"maps"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"

	"chatting/configs"
)

// root is the folder that holds the files.
const root = "../.."

// services are all of docker-compose.yml.
var services = []string{"balancer", "kafka", "node1", "node2", "postgres"}

// nodes are the services that run this server.
var nodes = []string{"node1", "node2"}

// project reads docker-compose.yml as `docker compose` does in an environment.
func project(t *testing.T, environ ...string) *types.Project {
	t.Helper()
	options, err := cli.NewProjectOptions([]string{filepath.Join(root, "docker-compose.yml")},
		cli.WithEnv(environ), cli.WithName("chatting"), cli.WithResolvedPaths(true))
	if err != nil {
		t.Fatal(err)
	}
	p, err := options.LoadProject(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// The tests below go over services: without any, they would look at nothing.
	if names := p.ServiceNames(); !slices.Equal(names, services) {
		t.Fatalf("the services are %v, not %v", names, services)
	}
	return p
}

func TestEveryImageIsPinned(t *testing.T) {
	pinned := regexp.MustCompile(`^[a-z/]+:\d+\.\d+\.?\d*(-[a-z0-9.]+)?$`)
	for name, service := range project(t).Services {
		if service.Build == nil && !pinned.MatchString(service.Image) {
			t.Errorf("%s: the image %q has no version", name, service.Image)
		}
		if service.Build == nil {
			continue
		}
		for _, path := range []string{service.Build.Context, filepath.Join(service.Build.Context, service.Build.Dockerfile)} {
			if _, err := os.Stat(path); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

func TestWhatNodesAreToldIsAValidConfigurationOfACluster(t *testing.T) {
	p := project(t)
	for _, name := range nodes {
		service := p.Services[name]
		cfg := loadNode(t, service)
		if cfg.Kafka.Embedded() || cfg.Database.Embedded || cfg.GeneratesSecret() || !cfg.S2S.Token.IsSet() {
			t.Errorf("%s runs on parts of its own:\n%s", name, cfg.Masked())
		}
		database, err := url.Parse(cfg.Database.URL.Reveal())
		if err != nil {
			t.Fatal(err)
		}
		for _, address := range append(slices.Clone(cfg.Kafka.Brokers), database.Host) {
			host, _, err := net.SplitHostPort(address)
			if err != nil {
				t.Fatal(err)
			}
			part, there := p.Services[host]
			if !there || service.DependsOn[host].Condition != types.ServiceConditionHealthy || part.HealthCheck == nil {
				t.Errorf("%s does not wait for %s to be healthy", name, host)
			}
		}
		for _, address := range cfg.Kafka.Brokers {
			host, port, err := net.SplitHostPort(address)
			if err != nil {
				t.Fatal(err)
			}
			broker := p.Services[host].Environment
			if listeners := broker["KAFKA_ADVERTISED_LISTENERS"]; !names(listeners, "PLAINTEXT://"+address) {
				t.Errorf("%s says that it is at %s, not %s", host, said(listeners), address)
			}
			if listeners := broker["KAFKA_LISTENERS"]; !names(listeners, "PLAINTEXT://:"+port) {
				t.Errorf("%s listens at %s, not %s", host, said(listeners), port)
			}
		}
		if port := database.Port(); port != "5432" { // which the image serves on
			t.Errorf("%s asks PostgreSQL on port %s", name, port)
		}
		password, _ := database.User.Password()
		if postgres := p.Services[database.Hostname()].Environment; *postgres["POSTGRES_PASSWORD"] != password ||
			*postgres["POSTGRES_USER"] != database.User.Username() || "/"+*postgres["POSTGRES_DB"] != database.Path {
			t.Errorf("%s asks PostgreSQL for what it does not have", name)
		}
		if stop := service.StopGracePeriod; stop == nil || time.Duration(*stop) <= cfg.Shutdown.Deadline {
			t.Errorf("%s is killed before it has left", name)
		}
	}
	one, two := p.Services["node1"].Environment, p.Services["node2"].Environment
	if !maps.EqualFunc(one, two, func(a, b *string) bool { return said(a) == said(b) }) {
		t.Errorf("the nodes are not alike: %v, %v", one, two)
	}
}

// said is what a variable has, "" if it is not set.
func said(variable *string) string {
	if variable == nil {
		return ""
	}
	return *variable
}

// names tells whether a variable has an entry, of those between commas.
func names(variable *string, entry string) bool {
	return slices.Contains(strings.Split(said(variable), ","), entry)
}

// loadNode loads what the image and the service say together.
func loadNode(t *testing.T, service types.ServiceConfig) configs.Config {
	t.Helper()
	environ := imageEnviron(t)
	for name, value := range service.Environment {
		if !strings.HasPrefix(name, "CHATTING_") || value == nil {
			t.Errorf("%s: %s is no variable of the server, or has no value", service.Name, name)
			continue
		}
		environ = append(environ, name+"="+*value)
	}
	cfg, err := configs.Load(configs.Sources{Environ: environ})
	if err != nil {
		t.Fatalf("%s: %v", service.Name, err)
	}
	return cfg
}

func TestSecretsComeFromTheEnvironmentAndTheirDefaultsSayWhatTheyAre(t *testing.T) {
	plain := project(t)
	given := project(t, "POSTGRES_PASSWORD=given-password", "CHATTING_JWT_SECRET=given-secret-of-32-bytes-or-more-", "CHATTING_S2S_TOKEN=given-token-of-16-bytes")
	for _, name := range nodes {
		for _, variable := range []string{"CHATTING_DATABASE_URL", "CHATTING_JWT_SECRET", "CHATTING_S2S_TOKEN"} {
			if value := said(plain.Services[name].Environment[variable]); !strings.Contains(value, "for-development-only") {
				t.Errorf("%s: %s has a default that does not say what it is: %s", name, variable, value)
			}
			if value := said(given.Services[name].Environment[variable]); !strings.Contains(value, "given-") || strings.Contains(value, "development") {
				t.Errorf("%s: %s is not taken from the environment: %s", name, variable, value)
			}
		}
	}
	if *given.Services["postgres"].Environment["POSTGRES_PASSWORD"] != "given-password" {
		t.Error("PostgreSQL has another password than the nodes")
	}
}

func TestOnlyTheBalancerIsReachableFromOutside(t *testing.T) {
	for name, service := range project(t).Services {
		if published := len(service.Ports) > 0; published != (name == "balancer") || service.NetworkMode != "" {
			t.Errorf("%s: ports %v, network mode %q", name, service.Ports, service.NetworkMode)
		}
	}
}

func TestWhatIsMountedIsThere(t *testing.T) {
	p := project(t)
	mounted := map[string]string{} // by service and place
	for name, service := range p.Services {
		for _, volume := range service.Volumes {
			mounted[name+":"+volume.Target] = volume.Source
			switch volume.Type {
			case types.VolumeTypeBind:
				if _, err := os.Stat(volume.Source); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			default:
				if _, there := p.Volumes[volume.Source]; !there {
					t.Errorf("%s: no volume %s", name, volume.Source)
				}
			}
		}
	}
	config, err := filepath.Abs(filepath.Join(root, "configs", "haproxy.cfg"))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"balancer:/usr/local/etc/haproxy/haproxy.cfg":                      config,
		"kafka:" + said(p.Services["kafka"].Environment["KAFKA_LOG_DIRS"]): "kafka",
		"postgres:/var/lib/postgresql/data":                                "postgres",
	}
	if !maps.Equal(mounted, want) {
		t.Errorf("mounted is %v, not %v", mounted, want)
	}
}
